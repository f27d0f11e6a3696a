"""``peelfleet trace``: traces of memory and availability, recorded, imported and inspected."""
