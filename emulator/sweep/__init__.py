"""Variants of a scenario, run on all cores into one table."""
