"""The catalogue of what a run leaves: metrics, event columns and summary keys."""
