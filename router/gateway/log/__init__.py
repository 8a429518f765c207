"""The router's end of the request log: records into the spool, and from the spool to the stream."""
