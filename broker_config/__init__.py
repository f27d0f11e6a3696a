"""Brokers: configuration, access rules generated from the topic table, launcher."""
