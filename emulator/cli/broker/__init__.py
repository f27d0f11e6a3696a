"""``peelfleet broker``: a broker for a while, or the files of one for a test fleet."""
