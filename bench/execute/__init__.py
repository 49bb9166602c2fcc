"""Many jobs: planned, run on the devices there are, held against controls."""
