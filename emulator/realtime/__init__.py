"""The realtime clock: simulated time follows the wall clock, and messages travel through a real broker.

The links of a device are emulated as under every clock, in simulated time. Between them, from when a report
has come through the uplink until its answer is complete, everything is real: the broker, the cloud service,
this process's own connections. What arrives becomes an event at the simulated time of its arrival.
"""
