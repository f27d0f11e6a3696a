"""A real device: it watches its own memory and keeps its PEE up to date over MQTT."""
