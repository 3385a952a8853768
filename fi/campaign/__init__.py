"""TODO campaign."""
