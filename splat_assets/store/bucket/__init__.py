"""A data root in a bucket: objects, the working copy, the cache of what was read."""
