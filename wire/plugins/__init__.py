"""Plug-ins: extensions of peelfleet in packages of their own. None is imported before it is used."""
