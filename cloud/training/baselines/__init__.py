"""Ways to make an item table smaller, to compare PEEL with at equal bytes."""
