"""Tests of somebody's device against the rules of the protocol's page: a cloud that follows a script."""
