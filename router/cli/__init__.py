"""The shepherd command."""
