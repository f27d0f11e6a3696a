"""Importers of traces: from the files of others to rows of the trace format."""
