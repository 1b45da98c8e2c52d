"""Sparse autoencoders in torch: architectures, training, evaluation, checkpoint formats."""
