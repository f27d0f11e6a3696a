"""Runs a scenario: clocks, runner, run directory, report, command line."""
