"""The simulated device, and everything between it and the cloud."""
