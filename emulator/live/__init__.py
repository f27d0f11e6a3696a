"""A run that is watched: its live figures, and the commands of those who watch it, in files beside it."""
