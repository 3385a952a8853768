"""TODO differential."""
