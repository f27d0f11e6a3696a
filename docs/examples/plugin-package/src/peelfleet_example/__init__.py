"""Plug-ins for peelfleet: a memory process, a backbone, a codec and a metric."""
