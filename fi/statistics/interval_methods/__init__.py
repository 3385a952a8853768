"""How the ends of intervals are computed: a module for each method."""
