"""What the HTTP door answers besides V2 inference, one module per group of paths."""
