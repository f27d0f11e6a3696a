"""Interactions: their sources, and reading, filtering and splitting them."""
