"""The method of the paper on arrays: windows of masks, placement, cutting, pasting, and the engine that runs it."""
