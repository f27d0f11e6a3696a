"""Files of a cluster of three EMQX nodes behind one address.

Tests check the settings, the access rules and the compose file; the cluster itself was never started: see
docs/scale.md.
"""
