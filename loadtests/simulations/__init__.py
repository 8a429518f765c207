"""Simulations with fixed seeds that measure what the statistics promise; each writes a page of docs/results/."""
