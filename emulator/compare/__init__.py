"""Comparison of runs: differences of metrics between sets of runs, and of event logs row by row."""
