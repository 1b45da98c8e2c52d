"""The base model: SplatGPT in torch, loading it, its hook points and interventions."""
