"""Progress of long work: bars in a terminal, lines in a log, and what a run or a sweep shows in them."""
