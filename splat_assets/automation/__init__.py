"""What happens by itself: files that are brought become runs, old versions go, and what happened is written down.

Plain Python; `splat_assets.orchestration.sensors` and `splat_assets.schedules` call it from Dagster.
"""
