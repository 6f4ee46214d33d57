"""Photographs that every scikit-image wheel holds, so that nothing is downloaded.

All are in the public domain or CC0, according to the documentation of `skimage.data`:

===================  ========================================  ==========================================
photograph           by                                        licence
===================  ========================================  ==========================================
`astronaut`          NASA                                      public domain
`brick`              CC0Textures (Bricks25)                    CC0
`chelsea`            Stefan van der Walt                       CC0
`coffee`             Rachel Michetti, Pikolo Espresso Bar      CC0
`grass`              linolafett, DeviantArt                    CC0
`gravel`             CC0Textures (Gravel04)                    CC0
`hubble_deep_field`  NASA, ESA                                 public domain
`retina`             Mikael Häggström                          CC0
`rocket`             SpaceX                                    public domain
===================  ========================================  ==========================================
"""

import numpy as np

from bpr.structures import Image


def photograph(name: str) -> Image:
    """One of them, (h, w, 3) uint8, RGB; a grey one has three equal channels."""
    import skimage.data  # where a set is made, and only there

    pixels = np.asarray(getattr(skimage.data, name)(), np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
