"""The cloud service: what it answers to budget reports, to whom it offers a model, and what it counts."""
