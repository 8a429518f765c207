"""The HTTP/2 that Envoy and a router speak: one connection carries many calls, and many of them in one read."""
