"""Monitors: what would have noticed a fault while the network runs."""
