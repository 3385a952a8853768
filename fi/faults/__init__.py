"""Fault models, sites, the fault space, fault lists, and how a fault is put into a network."""
