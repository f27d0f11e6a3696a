"""Benchmarks: each writes its figures to benchmarks/out/<name>.json."""
