"""The MQTT client of the product: connect, subscribe, publish, reconnect.

Only this package imports aiomqtt; others take `Client`, `Message` and `MqttError` from `wire.mqtt.client`.
Every use of a private attribute of aiomqtt or paho is in `wire.mqtt.client_patches`. `connection` and
`backoff` import neither, so that a command can read settings without loading a client.
"""
