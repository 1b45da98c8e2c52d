"""Commands that read, serve and label: `splat serve`, `splat label`, `splat experiment` and others."""
