"""Files of masks: read, validate, write. One module per format."""
