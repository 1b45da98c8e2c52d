"""Builds as data: tokenised files, stat.ink exports, splits and the demo dataset."""
