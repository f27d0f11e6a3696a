"""The web applications: the playground, and the pages of finished runs."""
