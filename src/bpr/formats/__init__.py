"""Files of masks, in and out: annotations, predictions in all formats, and what may be written over."""
