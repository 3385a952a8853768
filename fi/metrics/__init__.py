"""What a pair did, and how these outcomes are counted."""
