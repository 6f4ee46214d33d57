"""Services that refine masks inside of other programs."""
