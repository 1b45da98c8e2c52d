"""Faults by artifact and by the check that must go red: what is wrong in words, and how to bring it about."""
