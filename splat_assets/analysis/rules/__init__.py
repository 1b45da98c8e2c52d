"""Rules over builds: the library, their scores, the search for the best, its null."""
