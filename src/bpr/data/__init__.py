"""From image records to batches of boundary patches, for training and for refinement."""
