"""Benchmarks: every one writes its figures to benchmarks/out/<name>.json."""
