"""TODO generic."""
