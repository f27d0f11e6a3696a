"""Readers of interactions: a file or folder of each kind of source to a table in memory."""
