"""The sparse store: segments, merging, ranges, and its reader."""
