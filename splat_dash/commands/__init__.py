"""The commands of the dashboard."""
