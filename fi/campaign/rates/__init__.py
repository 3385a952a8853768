"""Campaigns of rates: each bit of a memory is hit with a given probability."""
