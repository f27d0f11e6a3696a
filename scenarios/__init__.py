"""The scenario language and the scenario files."""
