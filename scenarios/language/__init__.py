"""The scenario language: its types, checks, YAML and files."""
