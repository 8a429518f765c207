"""What one machine needs to run the gateway: its directory, its lock, its ports, Valkey and Ray."""
