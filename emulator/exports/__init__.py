"""Tables and figures of results as files for papers, by the ending of their names."""
