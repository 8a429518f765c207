"""The tensor channel between a router and a model replica: framed, pipelined, never pickled."""
