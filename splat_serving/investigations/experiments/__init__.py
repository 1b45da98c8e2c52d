"""One module per experiment, each with an `EXPERIMENT`; see `splat_serving.investigations.experiment`."""
