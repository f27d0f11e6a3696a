"""Brokers: start one, describe one, write the configuration of one; accounts and access rules."""
