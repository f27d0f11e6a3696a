"""The format that both ends agree on (pure), and in `wire.mqtt` the MQTT client that both ends use.

Beside them are helpers of every package: files and locks, units, errors, random streams.
"""
