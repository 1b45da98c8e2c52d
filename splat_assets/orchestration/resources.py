"""Dagster's resources and partition sets. Shards are not partitions: assets resume them by receipts."""

import os
from typing import TypeVar

import dagster as dg

from splat_assets.automation.settings import AUTOMATION
from splat_assets.runs import Run, open_run
from splat_assets.store.layout import DataRoot

TAG = "splat/run"
"""The tag that names the run a Dagster run is of."""
RUNS = dg.DynamicPartitionsDefinition(name="run")
SWEEPS = dg.DynamicPartitionsDefinition(name="sweep")
Status = TypeVar("Status", dg.DefaultSensorStatus, dg.DefaultScheduleStatus)


def automation_begins(status: type[Status]) -> Status:
    """How a sensor or schedule begins: running, or stopped where SPLAT_AUTOMATION says `off`; the UI can switch each."""
    return status["STOPPED"] if os.environ.get(AUTOMATION) == "off" else status["RUNNING"]


class DataRootResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The folder that holds all data; an empty path means what SPLAT_DATA says, or ./data.

    Examples:
        >>> DataRootResource(path="/data/splat").root().runs.as_posix()
        '/data/splat/runs'
    """

    path: str = ""

    def root(self) -> DataRoot:
        """The layout of the data root."""
        return DataRoot.from_environment({"SPLAT_DATA": self.path}) if self.path else DataRoot.from_environment()

    def run(self, name: str) -> Run:
        """Open a run by its name, the partition key."""
        return open_run(self.root(), name)
