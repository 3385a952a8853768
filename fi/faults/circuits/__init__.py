"""Neuron circuits that are broken: how a faulty update is computed, and put into a network."""
