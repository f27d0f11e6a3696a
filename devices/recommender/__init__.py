"""The recommender of a device: scores, rankings, quality, and the PEE as a file."""
