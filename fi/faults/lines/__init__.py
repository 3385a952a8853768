"""Faults of lines: what carries spikes loses, adds or delays them, by seeded random numbers."""
