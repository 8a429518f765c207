"""Copies of requests to shadowed versions, and how their answers compare."""
