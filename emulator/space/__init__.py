"""The disk and the memory that a run takes: estimated before it starts, and compared with what is free."""
