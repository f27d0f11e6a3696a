"""Metrics, accounts and verdicts: from event tables to figures."""
