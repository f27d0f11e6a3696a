"""PEEL: interactions, training, block store, selection, responder, MQTT service."""
