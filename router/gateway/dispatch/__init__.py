"""From a decoded request to its settled answer: decide, choose a replica, send, wait, count, record."""
