"""The timeline of a run: stages, actions, faults, and when devices are connected."""
