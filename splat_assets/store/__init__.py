"""What is on disk: layouts, manifests, the sparse store, the guide's formats, readers and their errors."""
