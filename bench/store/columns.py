"""Which columns a row has, and what each is for."""

__all__ = ["LOOKS", "SELECTS"]

LOOKS = tuple(f"{side}_{name}" for side in ("validation", "test") for name in ("recall_at_1", "map_at_r"))
"""What is written down of an epoch after which a model was looked at."""


SELECTS = "validation_map_at_r"
"""What selects the epoch: it tells embeddings apart more finely than Recall@1."""
