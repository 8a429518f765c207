"""What answers say about versions: comparisons and statistics. Pure."""
