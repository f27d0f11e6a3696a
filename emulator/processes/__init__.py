"""Child processes: how they start, how they end with their parent, and how signals end a command."""
