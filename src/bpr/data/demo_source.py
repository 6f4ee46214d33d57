"""The embedded demo as a data set to train on."""

from collections.abc import Sequence
from pathlib import Path

from bpr.data.datamodule import Source
from bpr.synthetic.demo import make_demo


def demo_source(images: Path | str, annotations: Path | str, predictions: Sequence[Path | str] = ()) -> Source:
    """A part of the embedded demo, made now unless it is there.

    Args:
        images: ``ROOT/train/images`` or ``ROOT/val/images``: where `bpr.synthetic.demo.make_demo` puts them.
        annotations: As for `bpr.data.datamodule.Source`.
        predictions: The same.

    Raises:
        ValueError: If ``images`` is no such folder.
    """
    folder = Path(images).parent
    made = make_demo(folder.parent, folder.name)  # type: ignore[arg-type]  # any other name is refused there
    if made.images != Path(images):
        raise ValueError(f"images must be {made.images}, where the demo has them, got {images}")
    return Source(images, annotations, predictions)
