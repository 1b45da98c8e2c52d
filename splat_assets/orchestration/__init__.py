"""Everything that knows Dagster: assets, sensors, jobs, resources, and running them in this process."""
