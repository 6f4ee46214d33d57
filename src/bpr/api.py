"""Refine masks from Python: one object, one call; no Lightning, no Hydra, no files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from huggingface_hub import ModelHubMixin
from numpy.typing import NDArray

from bpr import hub
from bpr.assemble import mean_probability
from bpr.data.batches import to_tensor
from bpr.data.pixels import as_rgb
from bpr.interop import Masks, masks_of
from bpr.models.backends import make_predict
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import CheckpointError, load_segmenter, resolve_checkpoint
from bpr.patches import bounding_box, crop, propose_boxes, working_window
from bpr.structures import Backend, Boxes, Image, Mask, PatchSpec, Probabilities, Window

Progress = Callable[[int, int], None]
"""Called with the number of patches that are done, and of all."""


class _Cut(NamedTuple):
    """Where the patches of one mask are."""

    number: int
    window: Window
    boxes: Boxes


class Refiner(
    ModelHubMixin,
    library_name="bpr",
    license="apache-2.0",
    paper_url="https://arxiv.org/abs/2104.05239",
    tags=["instance-masks"],
):
    """Refines the boundaries of instance masks (arXiv 2104.05239).

    It keeps no state between calls, so that several threads may share one. ``save_pretrained(folder)`` and
    ``push_to_hub("org/name")`` are those of huggingface_hub's `ModelHubMixin`; ``patch`` is saved with the weights, the
    options that belong to a machine are not.

    Args:
        segmenter: The patch network; it is copied.
        patch: How patches are placed; by default `PatchSpec()`.
        device: Where the network runs: ``"cpu"``, ``"cuda"``, ...; by default a GPU if there is one.
        patches_per_forward: The network sees at most so many patches at a time.
        threads: CPU threads of torch in this process, for all that uses torch; None leaves them as they are.
        backend: How the network is run: ``"eager"``, ``"compile"`` or ``"onnxruntime"``; the masks are the same.

    Raises:
        ValueError: If ``patches_per_forward`` or ``threads`` is below 1, or there is no such backend.
    """

    def __init__(
        self,
        segmenter: PatchSegmenter,
        patch: PatchSpec | None = None,
        device: torch.device | str | None = None,
        patches_per_forward: int = 64,
        threads: int | None = None,
        backend: Backend | str = Backend.eager,
    ) -> None:
        if patches_per_forward < 1 or (threads is not None and threads < 1):
            raise ValueError(
                f"patches_per_forward and threads must be at least 1, got {patches_per_forward} and {threads}"
            )
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.patch = PatchSpec() if patch is None else patch
        self._segmenter = segmenter
        self._network = make_predict(segmenter, Backend(backend), self.patch.size, None, self.device)
        self._patches_per_forward = patches_per_forward

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path = "hrnet18s", **options: Any
    ) -> Self:
        """Load weights that ship, a checkpoint, the paper authors' ``.pth``, or weights on the Hugging Face Hub.

        Args:
            name: Name of weights that ship (``"hrnet18s"``), a ``.ckpt``, ``.pth`` or ``.safetensors`` file, a
                folder of ``save_pretrained``, or ``"org/name"`` on the hub.
            options: As of `Refiner` (``patch`` is by default what was saved); also ``input_size``, the side the
                network resizes patches to, px (by default what it was trained with), and those of
                `ModelHubMixin.from_pretrained`.

        Raises:
            bpr.models.weights.CheckpointError: If there are no such weights, or the file has another layout.
        """
        if Path(name).is_dir() or hub.is_hub_name(name):
            return cls._from_hub(name, **options)
        return cls._load(resolve_checkpoint(name), **options)

    @classmethod
    def _from_hub(cls, name: str | Path, **options: Any) -> Self:
        # Files written by version 0.1.0 also hold the options of the machine: our defaults keep those from being used.
        parameters = inspect.signature(cls.__init__).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.name not in ("self", "segmenter", "patch")}
        try:
            loaded: Self = super().from_pretrained(name, **{**defaults, **options})
        except OSError as error:  # all that the hub's client raises
            raise CheckpointError(
                f"{name}: no such file, no weights of that name ship, and {hub.WEIGHTS_NAME} could not be had from "
                f"the hub ({type(error).__name__}: {error})"
            ) from error
        return loaded

    @classmethod
    def _load(
        cls,
        path: Path,
        input_size: int | None = None,
        patch: PatchSpec | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        return cls(load_segmenter(path, input_size), hub.patch_of(patch), **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        hub.write(self._segmenter, self.patch, save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        client = {name: options.pop(name) for name in names if name in options}
        for obsolete in ("proxies", "resume_download"):  # of huggingface_hub before 1.0
            options.pop(obsolete, None)
        return cls._load(hub.weights_file(model_id, **client), **options)

    def __call__(
        self,
        image: Any,
        masks: Any,
        threshold: float = 0.5,
        return_probabilities: bool = False,
        progress: Progress | None = None,
    ) -> Any:
        """Refine the masks of one image, or of a list of images.

        Args:
            image: (h, w, 3) uint8 RGB, (h, w) or (h, w, 1) uint8 grey, or a `PIL.Image.Image`; or a list of
                such images.
            masks: (n, h, w) bool (or 0/1 integers), array or tensor, the masks of the image; n may be 0. Also
                `supervision.Detections`, the dict of a torchvision detector, Ultralytics `Results`, the dict of
                Hugging Face's ``post_process_instance_segmentation``, a list of COCO RLEs, of COCO results or of
                the dicts of SAM's automatic mask generator. For
                a list of images, a list with the masks of each.
            threshold: In [0, 1). A pixel is foreground when its mean probability is above this.
            return_probabilities: Also return (n, h, w) float32, probability of foreground in the patches, and
                the coarse mask (0 or 1) outside of them.
            progress: Called after every pass of the network.

        Returns:
            The refined masks, in the type they came in, in a new object; boxes in it follow the masks. A mask of
            which nothing would be left is kept as it is. With
            ``return_probabilities``, the pair of both. For a list of images, a list of these.

        Raises:
            TypeError: If the image or the masks are of no known type.
            ValueError: If a shape does not fit, or ``threshold`` is out of range.
        """
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {threshold}")
        if not isinstance(image, list | tuple):
            return self([image], [masks], threshold, return_probabilities, progress)[0]
        if not isinstance(masks, list | tuple) or len(masks) != len(image):
            raise ValueError(f"{len(image)} images need a list with the masks of each, got {type(masks).__name__}")
        pixels = [as_rgb(one) for one in image]
        adapted = [masks_of(given, one.shape[:2]) for given, one in zip(masks, pixels, strict=True)]
        probabilities = self._refine(pixels, adapted, progress)
        refined = [
            given.rebuild(self._threshold(given.arrays, p, threshold))
            for given, p in zip(adapted, probabilities, strict=True)
        ]
        return list(zip(refined, probabilities, strict=True)) if return_probabilities else refined

    def _threshold(
        self, coarse: NDArray[np.bool_], probabilities: NDArray[np.float32], threshold: float
    ) -> NDArray[np.bool_]:
        """(n, h, w) bool; a coarse mask of which nothing would be left stays as it is, as in ``refine.py``."""
        refined = np.asarray(probabilities > threshold)
        if not self.patch.compat_2021:
            emptied = ~refined.any(axis=(1, 2))
            refined[emptied] = coarse[emptied]
        return refined

    def _refine(
        self, images: Sequence[Image], masks: Sequence[Masks], progress: Progress | None
    ) -> list[NDArray[np.float32]]:
        """(n, h, w) float32 for each image."""
        cuts = [[self._cut(number, mask) for number, mask in enumerate(given.arrays)] for given in masks]
        total = sum(len(cut.boxes) for per_image in cuts for cut in per_image)
        predicted = self._predict(self._batches(images, masks, cuts), total, progress)
        results = []
        for given, per_image in zip(masks, cuts, strict=True):
            probabilities = given.arrays.astype(np.float32)
            for number, (x1, y1, x2, y2), boxes in per_image:
                part = np.s_[number, y1:y2, x1:x2]
                patches, predicted = predicted[: len(boxes)], predicted[len(boxes) :]
                probabilities[part] = mean_probability(given.arrays[part], patches, boxes - (x1, y1, x1, y1))
            results.append(probabilities)
        return results

    def _cut(self, number: int, mask: Mask) -> _Cut:
        window = working_window(bounding_box(mask), mask.shape, self.patch.size)
        x1, y1, x2, y2 = window
        if (x1, y1) == (x2, y2):
            return _Cut(number, window, np.zeros((0, 4), np.int64))
        return _Cut(number, window, propose_boxes(mask[y1:y2, x1:x2], self.patch, (x1, y1), mask.shape))

    def _batches(
        self, images: Sequence[Image], masks: Sequence[Masks], cuts: Sequence[Sequence[_Cut]]
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
        """Crops of at most ``patches_per_forward`` patches, of one mask after the other, across images."""
        colours: list[NDArray[np.uint8]] = []
        coarse: list[NDArray[np.bool_]] = []
        for image, given, per_image in zip(images, masks, cuts, strict=True):
            for number, _, boxes in per_image:
                for box in boxes:
                    colours.append(crop(image, box[None]))
                    coarse.append(crop(given.arrays[number], box[None]))
                    if len(colours) == self._patches_per_forward:
                        yield np.concatenate(colours), np.concatenate(coarse)
                        colours, coarse = [], []
        if colours:
            yield np.concatenate(colours), np.concatenate(coarse)

    @torch.inference_mode()
    def _predict(
        self,
        batches: Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]],
        total: int,
        progress: Progress | None,
    ) -> Probabilities:
        predicted = np.zeros((total, self.patch.size, self.patch.size), np.float32)
        done = 0
        for colours, coarse in batches:
            inputs = to_tensor(colours).to(self.device), torch.from_numpy(coarse).to(self.device)
            probabilities = self._network(*inputs)
            predicted[done : done + len(coarse)] = probabilities.cpu().numpy()
            done += len(coarse)
            if progress is not None:
                progress(done, total)
        return predicted
