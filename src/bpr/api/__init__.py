"""Refinement from Python: neither Lightning nor Hydra."""
