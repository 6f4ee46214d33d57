"""The patch network: stem, segmenter, loss, and the files that its weights come in."""
