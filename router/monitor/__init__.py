"""What the monitor knows of each version and arm, folded from records and labels; incidents that follow. Pure."""
