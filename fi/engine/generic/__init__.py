"""Faults in PyTorch, stage by stage: what the kernels do not know."""
