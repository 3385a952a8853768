"""Memory that a code protects: what its decoder makes of flipped bits."""
