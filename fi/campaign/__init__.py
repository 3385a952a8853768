"""One fault list on one network and one test set, as Lightning test runs."""
