"""Automation: new inputs become runs, old versions are removed, and each event is recorded.

Plain Python; `splat_assets.orchestration.sensors` calls it from Dagster.
"""
