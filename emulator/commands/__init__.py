"""The commands, one file each; what they load they load when they run."""
