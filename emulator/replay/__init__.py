"""Recorded runs, played again and compared."""
