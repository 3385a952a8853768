"""Number formats beside those of floating point: integers, fixed point, and rounded states."""
