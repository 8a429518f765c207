"""Counts what happens: plain arithmetic in every process, one merged Prometheus scrape per node."""
