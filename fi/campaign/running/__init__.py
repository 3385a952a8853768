"""What exists only while a campaign runs: its session, and what that is made of."""
