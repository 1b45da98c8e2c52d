"""Everything that answers questions about a published store. It imports neither Dagster nor torch."""
