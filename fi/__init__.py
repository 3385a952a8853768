"""Fault injection for spiking neural networks: the harness and its commands."""
