"""Files of formats that nobody asked for, under the name of a PNG.

Pillow has Ghostscript, a program, draw what is in an EPS; and takes nearly any bytes for the header of a TGA, which
may claim gigabytes of pixels.
"""

import struct
import subprocess

import pytest

from bpr.data.images import image_sizes, read_image
from bpr.formats.errors import FormatError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 20\n%%EndComments\n(%pipe%touch /tmp/x) (w) file\n%%EOF\n"
TGA = struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 28_192, 28_192, 24, 0x20)


@pytest.mark.parametrize("content", [EPS, TGA])
@pytest.mark.parametrize("read", [image_sizes, lambda path: read_image(path, (20, 30))])
def test_they_are_not_opened(tmp_path, monkeypatch, content, read):
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was run"))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.png: cannot be decoded \(cannot identify image file"):
        read(tmp_path / "a.png")
