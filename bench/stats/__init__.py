"""Numbers over seeds: arrays in, numbers out."""
