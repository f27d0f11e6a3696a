"""Blocks of an item table: how they are encoded, ranked, selected and stored."""
