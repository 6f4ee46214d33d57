"""The method of the paper on arrays: boundary, placement, cutting, pasting."""
