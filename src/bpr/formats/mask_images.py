"""Masks as image files: one mask per file, or one integer per instance."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bpr import rle as rle_codec
from bpr.cli.command import counted
from bpr.formats import sam_metadata
from bpr.formats.entries import ANY_CLASS, Entry
from bpr.formats.errors import FormatError, Reason
from bpr.formats.files import copy_file, of_kind, visible_files
from bpr.formats.label_images import JPEG_PROBLEM, VOC_VOID, paint_labels, read_labels, save_like
from bpr.formats.name_matching import ImageNames, beginnings, strip_suffix
from bpr.formats.prediction_format import Content, ImageSizes, PredictionFormat, Reading
from bpr.structures import Mask, Rle

MASK_SUFFIXES: Final = frozenset({".png", ".tif", ".tiff", ".bmp"})
"""Formats that do not change the values of pixels."""
_LOSSY_SUFFIXES: Final = frozenset({".jpg", ".jpeg"})


def read_mask_images(folder: Path, how: Reading) -> Content:
    """Read a folder of masks.

    A file with the name of an image (``a.png`` for ``a.jpg``) is a label image: each value but 0 is an instance.
    Any other file is one mask; it belongs to the image whose name its own name starts with, followed by ``_``, ``-``
    or ``.`` (``a_1.png``), or else to that of its folder (``a/1.png``). Folders that both the mask and the image are
    in must have the same names (``bear/00000.png`` is not of ``camel/00000.jpg``).

    In a file with one mask, all but 0 is foreground; if it has more than two values, it is soft, and foreground is
    what is at least half of the range (128 of 8 bits, 32,768 of 16, 0.5 of floating point).

    Files are taken in the order of their paths, hidden ones left out, and bad files that ``how.faults`` keeps.
    ``how.ignore_label`` is a value of label images that is no instance and stays as it is.

    Returns:
        Entries such as `bpr.formats.coco.open_results` gives: ``image_id`` is the name of the image, ``category_id``
        is 1, and ``score`` that of `bpr.formats.sam_metadata` or 1; ``mask_file`` is the file, ``value`` the value in
        it (None for a file with one mask).
        Notes on soft masks and on what looks like void.

    Raises:
        FormatError: If there is no mask, or a file belongs to no image or several, cannot be decoded, has several
            channels, or is soft without a pixel at half of the range.
    """
    sizes = how.image_sizes()
    images = ImageNames(sizes)
    entries: list[Entry] = []
    soft, void = list[str](), list[str]()
    files = of_kind(visible_files(folder), *MASK_SUFFIXES)
    scores = _scores(files)
    for path in files:
        name = path.relative_to(folder).as_posix()
        find = partial(_image_of, path, name, images, path in scores)
        found = how.faults.attempt(partial(_read_file, path, find, sizes, how.ignore_label), Reason.mask)
        if found is None:
            continue
        image, masks, remarkable = found
        (soft if None in masks else void).extend([name] if remarkable else [])
        for value, mask in masks.items():
            entry = {"image_id": image, "category_id": ANY_CLASS, "score": scores.get(path, 1.0), "segmentation": mask}
            entries.append({**entry, "mask_file": name, "value": value})
    if not files:
        refuse_lossy_masks(folder, visible_files(folder))
        raise FormatError(folder, None, f"has no masks; they are {', '.join(sorted(MASK_SUFFIXES))} files")
    return Content(entries, _describe(soft, void))


def refuse_lossy_masks(folder: Path, files: Iterable[Path]) -> None:
    """Say in a `FormatError` why the images in a folder without masks are none, if its files include JPEGs."""
    if lossy := of_kind(files, *_LOSSY_SUFFIXES):
        raise FormatError(folder, lossy[0].relative_to(folder).as_posix(), JPEG_PROBLEM)


def write_mask_images(folder: str | Path, entries: Iterable[Mapping[str, Any]], source: str | Path) -> None:
    """Write entries of `read_mask_images`, perhaps with other masks, to files of the same names and pixel types.

    Where refined instances of a label image overlap, a pixel stays with the instance that had it before, or goes
    to the last one in the order of the values. Values that are no instance stay as they are; files in which no mask
    changed, soft ones too, or that were bad, are copied. SAM's ``metadata.csv`` comes along, with area and box of the
    masks that changed.
    ``source`` is the folder that they were read from; ``folder`` is made if it is missing.
    """
    source, per_file = Path(source), defaultdict[str, list[Mapping[str, Any]]](list)
    for entry in entries:
        per_file[entry["mask_file"]].append(entry)
    folder, changed = Path(folder), defaultdict[Path, dict[str, Rle]](dict)
    files = of_kind(visible_files(source), *MASK_SUFFIXES)
    for path in files:
        name = path.relative_to(source).as_posix()
        of_file = per_file[name]
        if not of_file:
            copy_file(path, folder / name)
            continue
        before, whole = read_labels(path), of_file[0]["value"] is None
        masks = {entry["value"]: rle_codec.decode(entry["segmentation"]) for entry in of_file}
        painted = _paint_mask(path, before, masks[None]) if whole else paint_labels(before, masks)
        if np.array_equal(painted, before):
            copy_file(path, folder / name)
            continue
        save_like(path, painted, folder / name)
        if whole:
            changed[path.parent][path.name] = of_file[0]["segmentation"]
    for parent in {path.parent for path in files}:
        metadata = parent / sam_metadata.NAME
        if metadata.is_file():
            sam_metadata.write_metadata(folder / metadata.relative_to(source), changed[parent], metadata)


def _scores(files: Iterable[Path]) -> dict[Path, float]:
    """By mask file, where SAM's ``metadata.csv`` beside it has one."""
    folders = {path.parent for path in files}
    known = ((parent, sam_metadata.read_scores(parent / sam_metadata.NAME)) for parent in folders)
    return {parent / name: score for parent, scores in known for name, score in scores.items()}


def _read_file(
    path: Path, find: Callable[[], tuple[str, bool]], sizes: ImageSizes, ignore_label: int | None
) -> tuple[str, dict[int | None, Rle], bool]:
    """The image of a file, its masks by value, and whether to remark on it: as soft, or for what may be void."""
    image, labelled = find()
    values = read_labels(path, lambda: sizes[image])
    if labelled:
        masks = _split_labels(path, values, ignore_label)
        return image, masks, ignore_label is None and _looks_like_void(values.dtype, masks)
    mask, is_soft = _threshold(path, values)
    return image, {None: rle_codec.encode(mask)}, is_soft


def _image_of(path: Path, name: str, images: ImageNames, of_sam: bool) -> tuple[str, bool]:
    """The image of a mask file, and whether the file has the name of the image and so is a label image.

    Those ``of_sam`` have numbers for names, as images may have: their folder, perhaps the one given, comes first.
    """
    own = PurePosixPath(strip_suffix(name))
    folder = own.parent.as_posix() if own.parent.name else path.absolute().parent.name if of_sam else ""
    names = [own.with_name(start).as_posix() for start in beginnings(own.name)]
    meant = [name for name in ([folder, *names] if of_sam else [*names, folder]) if name]
    for tried in meant:
        found = images.find(tried)
        if len(found) == 1:
            labelled = tried == own.as_posix()
            if labelled and PurePosixPath(found[0]).parent.name != own.parent.name:
                _refuse_another(path, found[0], images.find(folder))
            return found[0], labelled
        if found:
            problem = f"may belong to {', '.join(sorted(found)[:3])}; put it into a folder with the name of its image's"
            raise FormatError(path, None, problem, Reason.image_id)
    problem = f"belongs to none of the {len(images)} images: name it, or its folder, after its image"
    elsewhere = [other for tried in meant for other in images.alike(tried)]
    if elsewhere:
        problem += f" ({', '.join(sorted(elsewhere)[:3])} is in another folder)"
    raise FormatError(path, None, problem, Reason.image_id)


def _refuse_another(path: Path, image: str, of_folder: Sequence[str]) -> None:
    """`FormatError` if the folder of a mask that has the name of an image has the name of another one."""
    if len(of_folder) == 1 and of_folder[0] != image:
        names = [PurePosixPath(one).name for one in (image, *of_folder)]
        problem = f"has the name of the image {names[0]}, but its folder that of {names[1]}"
        remedy = f"call it {names[0]}_1{path.suffix} or {names[1]}_1{path.suffix}, after the one that is meant"
        raise FormatError(path, None, f"{problem}; {remedy}", Reason.image_id)


def _split_labels(path: Path, values: NDArray[Any], ignore_label: int | None) -> dict[int | None, Rle]:
    """The mask of each label, of which only its own box is looked at: there may be tens of thousands."""
    from scipy.ndimage import find_objects  # a tenth of a second

    if not np.issubdtype(values.dtype, np.integer):
        raise FormatError(path, None, f"is a label image of {values.dtype}, but labels are integers; save it as such")
    labels, numbers = np.unique(values, return_inverse=True)
    numbers = numbers.reshape(values.shape) + 1
    masks: dict[int | None, Rle] = {}
    for number, (rows, columns) in enumerate(find_objects(numbers), start=1):
        label = int(labels[number - 1])
        if label not in (0, ignore_label):
            window = columns.start, rows.start, columns.stop, rows.stop
            masks[label] = rle_codec.encode(numbers[rows, columns] == number, window, values.shape)
    return masks


def _looks_like_void(dtype: np.dtype[Any], labels: Iterable[int | None]) -> bool:
    """Whether the values of a label image of 8 bits are small ones without a gap, and 255."""
    *small, last = [*labels] or [None]
    consecutive = small == list(range(1, len(small) + 1))
    return dtype == np.uint8 and last == VOC_VOID and consecutive and 0 < len(small) < VOC_VOID - 1


def _threshold(path: Path, values: NDArray[Any]) -> tuple[NDArray[np.bool_], bool]:
    """(h, w), and whether the mask is soft."""
    distinct = np.unique(values)
    if len(distinct) <= 2:
        return values != 0, False
    half = {"u": 1 << 8 * values.dtype.itemsize - 1, "f": 0.5}.get(values.dtype.kind, 1 << 15)  # "I" holds 16 bits
    if distinct[-1] < half:
        problem = (
            f"has {len(distinct)} values, but none is at least {half}, half of the range of a soft mask: "
            "give a label image the name of its image; take a soft mask without an object out of the folder"
        )
        raise FormatError(path, None, problem)
    return values >= half, True


def _describe(soft: Sequence[str], void: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if soft:
        masks = counted(len(soft), "soft mask was", "soft masks were")
        notes.append(f"{masks} thresholded at half of the range, such as {soft[0]}")
    if void:
        found = f"{counted(len(void), 'label image has', 'label images have')} the value 255 beside small ones"
        remedy = "it is taken as an instance: if it is void, as in PASCAL VOC, give ignore_label=255"
        notes.append(f"{found}, such as {void[0]}; {remedy}")
    return tuple(notes)


def _paint_mask(path: Path, before: NDArray[Any], mask: Mask) -> NDArray[Any]:
    """(h, w) values of a mask, those that it has if it did not change."""
    unchanged = np.array_equal(mask, _threshold(path, before)[0])
    return before if unchanged else np.where(mask, before.max() or 255, 0).astype(before.dtype)


def _place(path: Path, entry: Mapping[str, Any]) -> tuple[Path, str | None]:
    return path / entry["mask_file"], None if entry["value"] is None else f"value {entry['value']}"


FORMAT: Final = PredictionFormat(
    "masks", "", read_mask_images, write_mask_images, _place, masks_checked=True, has_classes=False, names_images=True
)
