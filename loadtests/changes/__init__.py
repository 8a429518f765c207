"""What clients see while something changes: a version is swapped, a replica dies, load steps, weights move."""
