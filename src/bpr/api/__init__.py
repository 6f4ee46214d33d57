"""Refinement from Python: neither Lightning nor Hydra, and no files."""
