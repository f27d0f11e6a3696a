"""Metrics over HTTP for Prometheus: the server, and what all makers of metrics share."""
