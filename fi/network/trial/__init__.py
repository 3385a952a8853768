"""A network watched while it runs: time steps, shapes, words that are read, what is kept."""
