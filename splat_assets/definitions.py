"""Dagster's definitions, where `workspace.yaml` and the deployment name them; they are made in `orchestration/definitions.py`."""

from splat_assets.orchestration.definitions import defs as defs
