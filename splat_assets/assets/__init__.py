"""The Dagster shell: one module per pipeline step, each a few lines over `compute`."""
