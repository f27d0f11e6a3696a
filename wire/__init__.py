"""What both ends must agree on; nothing here does I/O or reads a clock."""
