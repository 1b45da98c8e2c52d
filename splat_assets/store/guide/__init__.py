"""The guide's formats: batches, the transposed array, arrays per feature, precomputed tables."""
