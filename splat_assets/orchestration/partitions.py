"""The dynamic partition sets: runs, and sweeps of them. Shards are not partitions; assets resume them by receipts."""

import dagster as dg

TAG = "splat/run"
"""The tag that names the run a Dagster run is of."""
RUNS = dg.DynamicPartitionsDefinition(name="run")
SWEEPS = dg.DynamicPartitionsDefinition(name="sweep")
