"""Batch while busy: what waited during one run of the model is the next run."""
