"""The sub-commands of `splat`: parse, call one function, print its result."""
