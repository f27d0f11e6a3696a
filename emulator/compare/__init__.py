"""What differs between runs, and how sure that is."""
