"""Pages and schemas that are generated from the types: run `make docs`."""
