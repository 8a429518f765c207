"""Where versions come from: resolve, pin, download, verify, keep."""
