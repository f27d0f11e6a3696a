"""The web application: the playground."""
