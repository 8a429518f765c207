"""Shared hosts: one process that serves many small versions, its guests."""
