"""What the gRPC door answers, one module per service or kind of method."""
