"""The guide's Python database."""
