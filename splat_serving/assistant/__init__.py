"""Tools for AI assistants: what can be asked of a run, each answer bounded in length, over the Model Context Protocol."""
