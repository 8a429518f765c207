"""What the request log loses when processes die, Redis is away or the disk's share is used up: measured, not argued."""
