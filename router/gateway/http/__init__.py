"""The HTTP port: HTTP/1.1 and, behind Envoy, HTTP/2; routes, bodies, answers."""
