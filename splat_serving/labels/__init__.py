"""Labels of features with their history, a queue of features to label next, and research notes. Bound to one SAE."""
