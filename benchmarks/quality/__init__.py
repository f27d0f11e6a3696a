"""PEEL against every baseline at equal bytes, on any data set that the loaders read."""
