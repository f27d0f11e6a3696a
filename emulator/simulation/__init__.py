"""The simulation of a fleet, or of a part of it, under a clock."""
