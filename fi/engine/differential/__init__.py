"""The differential engine: which path a fault takes, and the pairs of all of them."""
