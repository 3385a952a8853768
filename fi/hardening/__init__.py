"""From findings to fixes: what to protect under a budget, and bounds that clamp words."""
