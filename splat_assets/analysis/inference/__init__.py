"""Statistical inference: effects, intervals and tests."""
