"""One page over several runs, or over a sweep."""
