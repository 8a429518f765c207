"""Bring the world to what the policies say."""
