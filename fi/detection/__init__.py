"""Which inputs reveal a fault: the pairs of a campaign, and the samples that detect its faults."""
