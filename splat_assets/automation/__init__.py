"""Automation: new inputs become runs, old versions are removed, and each event is recorded.

Plain Python; `splat_assets.orchestration.sensors` and `splat_assets.schedules` call it from Dagster.
"""
