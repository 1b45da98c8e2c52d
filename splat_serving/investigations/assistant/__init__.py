"""Tools for AI assistants to investigate a run, with answers of bounded length, over the Model Context Protocol."""

MOST_CHARACTERS = 20_000
"""Default length limit of an answer."""
