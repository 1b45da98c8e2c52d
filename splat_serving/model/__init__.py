"""Base model and SAE on builds, here or by HTTP."""
