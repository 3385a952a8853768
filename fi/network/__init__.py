"""Networks of snnTorch neurons: their stages, readouts, weights and batches."""
