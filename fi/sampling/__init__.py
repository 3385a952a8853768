"""Which faults are drawn: schemes, priors, sequential draws, shards."""
