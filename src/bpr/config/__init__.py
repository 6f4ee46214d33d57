"""Hydra: the schemas of all settings, and the arguments of the scripts."""
