"""The page of a test set that `fi.coverage` has chosen."""
