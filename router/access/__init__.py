"""Keys of the data plane: who calls, and what they may do. Pure."""
