"""The realtime clock: simulated time follows the wall clock, and messages travel through a real broker.

The links of a device are simulated as under every clock, in simulated time. Between them, from the end of the
uplink until the answer is complete, everything is real: the broker, the cloud service and the connections of
this process. A message that arrives becomes an event at the simulated time of its arrival.
"""
