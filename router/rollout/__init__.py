"""How a version earns its traffic: plans, phases, evidence, and the decision what to do next. Pure."""
