"""Tools for AI assistants: what can be asked of a run, each answer bounded in length, over the Model Context Protocol."""

MOST_CHARACTERS = 20_000
"""Of an answer as it is sent, if nothing else is said."""
