"""What knows nothing of faults or networks: errors, files, locks, git, a user's classes."""
