"""The request log's other way: from the stream into a sink, for good, in a process of its own."""
