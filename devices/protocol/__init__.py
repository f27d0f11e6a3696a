"""The device's side of the protocol, without I/O, clock or simulation."""
