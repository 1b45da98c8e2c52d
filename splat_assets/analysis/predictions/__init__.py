"""What the model predicts: beams, branches, entropy, information gain."""
