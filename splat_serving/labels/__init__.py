"""What people say of features: labels with their history, a queue of what to look at next, research notes. Bound to one SAE."""
