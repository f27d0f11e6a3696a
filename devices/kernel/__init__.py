"""The kernel: a second engine, which simulates devices that share nothing in compiled code.

It yields exactly the rows of the SimPy device (`devices.simulated`), which is the definition; a part of every
run is simulated by both. It needs numba, the extra `fast`. See docs/engines.md.
"""
