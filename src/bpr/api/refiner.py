"""Refine masks from Python: one object, one call; no Lightning, no Hydra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from bpr.api import hub
from bpr.api.arrays import Masks, MaskStack
from bpr.api.inputs import read_pair
from bpr.api.interop import masks_of
from bpr.api.polygons import from_polygons
from bpr.models.backends import (
    as_network,
    best_patches_per_forward,
    check_backend,
    make_start,
    usable_device,
    without_autocast,
)
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import change_trust, load_segmenter, resolve_checkpoint
from bpr.patches.engine import ImageMasks, Method, Progress, refine
from bpr.patches.presets import Preset
from bpr.patches.windows import MaskWindow
from bpr.structures import Backend, Image, PatchSpec, Round, SettingError, check_flags, check_numbers


class Refiner:
    """Refines the boundaries of instance masks (arXiv 2104.05239).

    It keeps no state between calls, so that several threads may share one. It can be pickled, for processes that are
    spawned: there it is made anew.

    Args:
        segmenter: The patch network, which must not change while this is used: what runs is a copy of it.
        patch: How patches are placed; by default `PatchSpec()`.
        device: Where the network runs: ``"cpu"``, ``"cuda"``, ...; by default a GPU if there is one.
        patches_per_forward: The network sees at most so many patches at a time; by default as many as suit the device.
        threads: CPU threads of torch in this process, for all that uses torch; None leaves them as they are.
        backend: How the network is run: a `Backend` or its name, such as ``"eager"`` or ``"openvino"``.
        rounds: Passes over the boundaries, each from the masks of the one before: ``"boundary"`` with patches of
            ``patch.size`` px, as in the paper; ``"object"`` with patches as large as the object. None: those that suit
            the weights (`PatchSegmenter.rounds`).
        flip: See every patch also mirrored, which takes twice as long.

    Raises:
        bpr.structures.SettingError: If ``patches_per_forward`` or ``threads`` is below 1, a setting is of another type,
            there is no such device, backend or round, or the backend does not run on the device; a `ValueError`.
    """

    def __init__(
        self,
        segmenter: PatchSegmenter,
        patch: PatchSpec | None = None,
        device: torch.device | str | None = None,
        patches_per_forward: int | None = None,
        threads: int | None = None,
        backend: Backend | str = Backend.eager,
        rounds: Sequence[Round | str] | str | None = None,
        flip: bool = False,
    ) -> None:
        if not isinstance(segmenter, PatchSegmenter):
            remedy = "Refiner.from_pretrained takes names and files"
            raise SettingError(f"segmenter must be a PatchSegmenter, got {segmenter!r}; {remedy}")
        counts = {"patches_per_forward": patches_per_forward, "threads": threads}
        check_numbers(counts, whole=True)
        check_flags({"flip": flip})
        for name, value in counts.items():
            if value is not None and value < 1:
                raise SettingError(f"{name} must be at least 1, got {value}")
        backend, self.device = Backend(backend), usable_device(device)
        check_backend(backend, self.device)
        if threads is not None:
            torch.set_num_threads(threads)
        if not isinstance(patch, PatchSpec | None):
            raise SettingError(f"patch must be a PatchSpec, got {patch!r}")
        self.patch = PatchSpec() if patch is None else patch
        self._segmenter = segmenter
        passes = segmenter.rounds if rounds is None else _passes([rounds] if isinstance(rounds, str) else rounds)
        self._method = Method(self.patch, passes, segmenter.input_size, flip)
        start = without_autocast(make_start(segmenter, backend, self.device), self.device)
        self._network = as_network(start, self.device)
        self._patches_per_forward = patches_per_forward or best_patches_per_forward(self.device)
        self._machine = str(self.device), patches_per_forward, threads, backend

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._segmenter, self.patch, *self._machine, self._method.rounds, self._method.flip)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "hrnet18s",
        input_size: int | None = None,
        patch: PatchSpec | None = None,
        trust: bool = True,
        preset: Preset | str = Preset.default,
        **options: Any,
    ) -> Self:
        """Load bundled weights, a checkpoint, the paper authors' ``.pth``, or weights on the Hugging Face Hub.

        Args:
            name: Name of bundled weights (``"hrnet18s"``), a ``.ckpt``, ``.pth`` or ``.safetensors`` file, a
                folder of ``save_pretrained``, or ``"org/name"`` on the hub.
            input_size: Side that the network resizes patches to, px; by default what it was trained with.
            patch: How patches are placed; by default as was saved with the weights (``rounds`` and ``flip`` too), else
                `PatchSpec()`.
            trust: Leave masks alone as far as the network trusts them; False refines all of them, as in the paper.
            preset: ``"fast"``, ``"default"`` or ``"best"`` (`bpr.patches.presets.Preset`): what stands for ``rounds``
                and ``patch.margin`` where they are not given, or None.
            options: The others of `Refiner`, and of `huggingface_hub.hf_hub_download`: ``revision``, ``cache_dir``,
                ``force_download``, ``local_files_only``, ``token``.

        Raises:
            bpr.models.weights.CheckpointError: If there are no such weights, the hub is unreachable, or the file has
                another layout.
        """
        check_flags({"trust": trust})
        client = {option: options.pop(option) for option in hub.CLIENT_OPTIONS if option in options}
        saved: tuple[Round, ...] = ()
        if Path(name).is_dir() or hub.is_hub_name(name):
            weights = hub.fetch(name, hub.WEIGHTS_NAME, client)
            patch, saved, flip = hub.read_method(hub.fetch(name, hub.CONFIG_NAME, client), patch)
            options.setdefault("flip", flip)
        else:
            weights = resolve_checkpoint(name)
        segmenter = load_segmenter(weights, input_size)
        chosen = Preset(preset)
        if options.get("rounds") is None:
            options["rounds"] = chosen.rounds(saved or segmenter.rounds)
        patch = chosen.patches(patch or PatchSpec())
        return cls(segmenter if trust else change_trust(segmenter, False), patch, **options)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights, ``patch``, ``rounds``, ``flip`` and a model card to a folder that `from_pretrained` reads.

        The weights are those that run: of a refiner made with ``trust=False`` without the trust output.

        Raises:
            FileExistsError: If another kind of model is in the folder; it is left alone.
        """
        hub.save(self._segmenter, self._method, Path(folder))

    def push_to_hub(self, name: str, private: bool | None = None, token: str | None = None, **options: Any) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face Hub.

        Args:
            name: ``"org/name"``; the repository is made if it is missing.
            private: Whether a new repository is private; None: as the organisation has it.
            token: Of the hub; None: the one that its client has stored.
            options: Of `huggingface_hub.HfApi.upload_folder`: ``commit_message``, ``revision``, ``create_pr``, ...

        Returns:
            The URL of the commit.
        """
        return hub.push(self._segmenter, self._method, name, private, token, **options)

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
            image: uint8 array or tensor, (h, w, 3) or (3, h, w) RGB, with a fourth channel RGBA (alpha is ignored),
                (h, w), (h, w, 1) or (1, h, w) grey; a `PIL.Image.Image`; or the path of an image file, which is turned
                as its EXIF orientation says unless the masks have the size of the image as it is stored. Channels
                come last where the last axis has 1, 3 or 4 entries, else first. Or a list of such images.
            masks: (n, h, w) array or tensor, the masks of the image; n may be 0. Also (n, 1, h, w), or (h, w) for a
                single mask, or a list of such. They are bool, 0 and 1 as integers or floats, or integers 0 and 255;
                other floats are to be thresholded before. Also
                `supervision.Detections`, the dict of a torchvision detector, Ultralytics `Results`, the dict of
                Hugging Face's ``post_process_instance_segmentation``, a list of COCO RLEs, of COCO results or of
                the dicts of SAM's automatic mask generator. For a list of images, a list with the masks of each,
                such as the list that an Ultralytics model returns.
            threshold: In [0, 1). A pixel is foreground when its mean probability is above this.
            return_probabilities: Also return (n, h, w) float32, probability of foreground in the patches of the last
                round that saw the mask, and outside of them 0 or 1 as in the mask from which that round started. Of a
                mask that was kept, since it is trusted or refining would empty it, they are those of what refining
                would have made of it. Where ``masks`` is one array or tensor, they have its shape.
            progress: Called after every pass of the network.

        Returns:
            The refined masks, in a new object of the type they came in, with the same dtype, shape and value of
            foreground; boxes in it follow the masks. A mask of which nothing would be left is kept as it is. With
            ``return_probabilities``, the pair of both. For a list of images, a list of these.

        Raises:
            TypeError: If the image or the masks are of no known type, or have other values.
            ValueError: If a shape does not fit, an image file cannot be read, or ``threshold`` is out of range.
        """
        if not isinstance(image, list | tuple):
            return self([image], [masks], threshold, return_probabilities, progress)[0]
        if not isinstance(masks, list | tuple) or len(masks) != len(image):
            found = len(masks) if isinstance(masks, list | tuple) else type(masks).__name__
            raise ValueError(f"{len(image)} images need a list with the masks of each, got {found}")
        pairs = [read_pair(one, partial(masks_of, given)) for one, given in zip(image, masks, strict=True)]
        refined = self._refine(pairs, threshold, return_probabilities, progress)
        rebuilt = [(given.rebuild(arrays), means) for (_, given), (arrays, means) in zip(pairs, refined, strict=True)]
        return rebuilt if return_probabilities else [only for only, _ in rebuilt]

    def refine_polygons(
        self,
        image: Any,
        polygons: Sequence[Any],
        tolerance: float = 0.0,
        threshold: float = 0.5,
        progress: Progress | None = None,
    ) -> list[list[Any]]:
        """Refine the objects of one image that are given as polygons.

        They are drawn as COCO draws them: pixel (0, 0) extends from 0 to 1. Drawn that way again, what comes back
        gives the refined masks exactly, but for ``tolerance`` and for holes, which are filled: polygons cannot hold
        them (`Refiner.__call__` with masks can).

        Args:
            image: One image, as of `Refiner.__call__`.
            polygons: For each object a (k, 2) array, tensor or list of points, x and y in px, integers or floats;
                or, for an object of several parts, a list of such.
            tolerance: px by which an outline may move to save points (Douglas-Peucker); 0: none.
            threshold: As of `Refiner.__call__`.
            progress: As of `Refiner.__call__`.

        Returns:
            For each object a list of polygons, since refining may split it: one for each part, the largest first. Each
            is of the type and dtype of the one that was given. Integers follow the edges of pixels, and are many at a
            tolerance of 0. An object whose mask did not change has the points that were given.

        Raises:
            TypeError: If the image or the polygons are of no known type.
            ValueError: If an object is no polygon of this image, which is named by its place in the list, or
                ``tolerance`` or ``threshold`` is out of range.
        """
        if not 0 <= tolerance < float("inf"):
            raise ValueError(f"tolerance must be 0 px or more, got {tolerance}")
        if isinstance(image, list | tuple):
            raise TypeError(f"polygons are refined image by image, got a {type(image).__name__}; call it for each")
        pair = read_pair(image, lambda size: from_polygons(polygons, size, tolerance))
        ((refined, _),) = self._refine([pair], threshold, False, progress)
        parts: list[list[Any]] = pair[1].rebuild(refined)
        return parts

    def _refine(
        self,
        pairs: Sequence[tuple[Image, Masks]],
        threshold: float,
        return_probabilities: bool,
        progress: Progress | None,
    ) -> Iterator[tuple[MaskStack, NDArray[np.float32] | None]]:
        """(n, h, w) bool for each image, with float32 such as they are returned if they are to be."""
        method = replace(self._method, threshold=threshold)
        placed = []
        for number, (pixels, masks) in enumerate(pairs):
            windows = tuple(MaskWindow.of(position, mask) for position, mask in enumerate(masks.arrays))
            size = pixels.shape[0], pixels.shape[1]
            placed.append(method.place(ImageMasks(number, size, windows, partial(np.asarray, pixels))))
        finish = refine(placed, self._network, method, self._patches_per_forward, return_probabilities, progress)
        for (_, coarse), image in zip(pairs, finish(), strict=True):
            refined = np.zeros(coarse.arrays.shape, np.bool_)
            probabilities = np.zeros(refined.shape, np.float32) if return_probabilities else None
            for mask in image.masks:
                x1, y1, x2, y2 = mask.window
                refined[mask.position, y1:y2, x1:x2] = mask.mask
                if probabilities is not None:
                    probabilities[mask.position, y1:y2, x1:x2] = mask.probabilities
            if probabilities is not None and coarse.shape is not None:
                probabilities = probabilities.reshape(coarse.shape)
            yield refined, probabilities


def _passes(names: Sequence[Round | str]) -> tuple[Round, ...]:
    if not isinstance(names, Sequence):
        raise SettingError(f"rounds must be a list of names, got {names!r}")
    return tuple(Round(name) for name in names)
