"""Other model servers under the same load: `python -m loadtests.peers`, `make bench-peers`."""
