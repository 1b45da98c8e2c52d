"""Statistics of a feature as pure functions on arrays: no files, no readers, no model."""
