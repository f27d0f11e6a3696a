"""Child processes that end with their parent, and the handlers of signals that end a command."""
