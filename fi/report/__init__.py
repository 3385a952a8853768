"""What a campaign found, for people: a page, figures, sentences."""
