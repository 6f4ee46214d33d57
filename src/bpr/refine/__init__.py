"""Refinement of one file of predictions: settings, input, lock, shards, resuming, results."""
