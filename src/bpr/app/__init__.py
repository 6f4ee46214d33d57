"""A page in the browser: an image, rough masks that are drawn or loaded, refined masks."""
