"""Stored embeddings scored by the rules of other tools, and why their scores differ: what `bench evaluate` does."""
