"""Investigations of features, on a local store or through a server: experiments, overviews, and their results."""
