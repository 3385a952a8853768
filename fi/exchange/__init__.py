"""Networks from and for other frameworks: files of the Neuromorphic Intermediate Representation."""
