"""The yardstick's model on each peer, as the peer's own documentation would have it; run in the peer's environment."""
