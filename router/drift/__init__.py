"""How far what a model sees and says has moved from its reference profile, with a stated rate of false alarms. Pure."""
