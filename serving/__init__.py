"""Run models: tensors in, tensors out. Knows no policy and no Redis."""
