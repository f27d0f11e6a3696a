"""Memory processes, links, the device's protocol logic, its recommender, the fleet."""
