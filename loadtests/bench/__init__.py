"""`make bench`: the gateway beside the simplest app a user could write, in one run, by an external load generator."""
