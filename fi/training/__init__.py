"""Training the networks that come with this."""
