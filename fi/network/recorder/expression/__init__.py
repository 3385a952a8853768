"""What was recorded as expressions: their nodes, the functions in them, and running them again."""
