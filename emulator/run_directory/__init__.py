"""The run directory: its layout, its event log and its checksums."""
