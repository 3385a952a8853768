"""Faults on compiled kernels: plans, golden traces, and what runs them."""
