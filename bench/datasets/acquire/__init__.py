"""Data sets got, decoded and checked: what `bench data` does."""
