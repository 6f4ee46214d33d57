"""Refinement of one file of predictions: settings, lock, shards, resuming, results."""
