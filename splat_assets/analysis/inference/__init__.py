"""Effects, intervals and tests: what may be concluded from samples."""
