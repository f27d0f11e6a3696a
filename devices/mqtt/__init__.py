"""Devices on a real broker: one gateway for all, or a session for each."""
