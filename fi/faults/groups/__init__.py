"""Groups: words that share an element of hardware, and go wrong together."""
