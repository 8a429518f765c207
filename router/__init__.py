"""Decide, observe, govern: which version answers, what is recorded, who may change it."""
