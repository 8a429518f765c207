"""The request path: wire, admission, decision, call, record, reply."""
