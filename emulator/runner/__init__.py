"""Carries out one run from a resolved scenario to a finished run directory."""
