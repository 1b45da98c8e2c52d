"""The one dynamic partition set: runs. Shards are not partitions; assets loop over them and resume by receipts."""

import dagster as dg

TAG = "splat/run"
"""The tag that names the run a Dagster run is of."""
RUNS = dg.DynamicPartitionsDefinition(name="run")
