"""The gRPC port: streams, health, reflection, and the codec of unary calls."""
