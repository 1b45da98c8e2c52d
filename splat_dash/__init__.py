"""The dashboard in the browser, on top of `splat_serving`. It imports neither Dagster nor torch, and computes no statistic."""
