"""Statistics of features: numpy and polars, no torch, no I/O."""
