"""Ranges of devices of a run: one is read alone, and the sums of all are merged over an executor."""
