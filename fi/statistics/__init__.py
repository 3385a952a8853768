"""Survey designs, sample sizes, estimates and their intervals."""
