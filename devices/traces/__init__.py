"""Traces: recorded lives of devices, in one documented format (``docs/traces.md``)."""
