"""Stores in memory: for tests, and for embedding a gateway that needs no other process."""
