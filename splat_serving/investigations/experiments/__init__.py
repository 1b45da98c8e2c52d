"""Modules of experiments, each with its `EXPERIMENTS`; see `splat_serving.investigations.experiment`."""
