"""The one dynamic partition set: runs. Shards are not partitions; assets loop over them and resume by receipts."""

import dagster as dg

RUNS = dg.DynamicPartitionsDefinition(name="run")
