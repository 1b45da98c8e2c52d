"""How an SAE is trained: steps, schedule, dead features, checkpoints."""
