"""TODO benchmarking."""
