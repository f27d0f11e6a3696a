"""MQTT clients of simulated devices on a real broker: one gateway for all, or a session per device."""
