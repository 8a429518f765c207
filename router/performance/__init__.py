"""How well a model does against its baseline, told by labels or estimated without them, and what follows. Pure."""
