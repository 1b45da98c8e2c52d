"""Commands that serve: `splat serve`."""
