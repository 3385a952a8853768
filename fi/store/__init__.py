"""What a campaign leaves on disk: its folder, results, summary and identity."""
