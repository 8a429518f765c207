"""Which variant answers a request, and why. Pure."""
