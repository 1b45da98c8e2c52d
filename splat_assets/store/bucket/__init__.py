"""A data root in a bucket: objects, the working copy, the read cache."""
