"""Dagster resources: configuration turned into plain objects, and no further."""

import dagster as dg

from splat_assets.runs import Run, open_run
from splat_assets.store.layout import DataRoot


class DataRootResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The folder that holds all data; empty means what SPLAT_DATA says, or ./data."""

    path: str = ""

    def root(self) -> DataRoot:
        """The layout of the data root."""
        return DataRoot.from_environment({"SPLAT_DATA": self.path}) if self.path else DataRoot.from_environment()

    def run(self, name: str) -> Run:
        """Open a run by its name, the partition key."""
        return open_run(self.root(), name)
