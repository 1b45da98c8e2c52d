"""The work of each pipeline step as plain functions on arrays and paths. No Dagster here."""
