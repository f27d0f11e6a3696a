"""A cluster of three EMQX nodes behind one address: its files. It was never run here: see docs/scale.md."""
