import io

import numpy as np
import pytest
from PIL import Image

from bpr import rle

SIZE = (40, 60)
CONFIG = '<View><Image name="image" value="$photo"/><PolygonLabels name="polygon" toName="image"/></View>'


@pytest.fixture
def photo(tmp_path):
    """A folder of local files with one image of `SIZE`."""
    folder = tmp_path / "local"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)).save(folder / "a.png")
    return folder


def png(size=SIZE):
    file = io.BytesIO()
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def polygon(number=0, points=((10, 20), (50, 20), (50, 80), (10, 80)), **changes):
    """A rectangle of 6 to 30 x 8 to 32 px."""
    value = {"points": [list(point) for point in points], "closed": True, "polygonlabels": ["cup"]}
    entry = {"id": f"r{number}", "from_name": "polygon", "to_name": "image", "type": "polygonlabels", "value": value}
    return {**entry, "original_width": 60, "original_height": 40, "image_rotation": 0, "origin": "manual", **changes}


def task(**content):
    return {"id": 7, "data": {"photo": "/data/local-files/?d=a.png"}, **content}


def grown(image, masks):
    """What refines in these tests: each mask is one row and column larger, to the lower right."""
    assert image.shape == (*SIZE, 3)
    result = []
    for code in masks:
        mask = rle.decode(code)
        mask[1:] |= mask[:-1]
        mask[:, 1:] |= mask[:, :-1]
        result.append(rle.encode(mask))
    return result
