"""The one MQTT shell: connections, reconnection, queues, and every private use of the MQTT client."""
