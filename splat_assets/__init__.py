"""Everything that writes: from a base model and builds to a published store. Importing this package imports nothing."""
