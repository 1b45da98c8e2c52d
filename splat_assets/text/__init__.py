"""Text for people: words and counts, numbers that they write, tables for a terminal, progress."""
