"""Stories about the Python API."""
