"""Ray Serve lives here: replicas, their lifecycle and their discovery."""
