"""Quality against bytes without a fleet: policies and baselines at equal budgets, over several seeds."""
