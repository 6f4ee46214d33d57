"""Scenes and coarse masks that are made, not read: the demo, and degraded ground truth."""
