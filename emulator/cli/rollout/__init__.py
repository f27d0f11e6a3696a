"""``peelfleet rollout``: a rollout is started, looked at, paused, resumed and rolled back."""
