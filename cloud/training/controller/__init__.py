"""Stage 4 of PEEL: the controller that learns how much each block is worth."""
