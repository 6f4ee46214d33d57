"""What happens when the page is used. Needs Gradio."""

import html
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final

import gradio as gr
import numpy as np
from gradio.components.image_editor import EditorData
from PIL import Image as PillowImage
from scipy.ndimage import binary_fill_holes

from bpr.api.refiner import Refiner
from bpr.app.job import WRITING, Job, Upload
from bpr.cli.command import user_problem
from bpr.data.images import image_sizes, read_image
from bpr.drawing import COLOURS, outlines
from bpr.formats.errors import FormatError
from bpr.structures import PAPERS_ROUNDS, ROUNDS_WITH_TRUST, ExifUse, Rle, Round, Size

OPACITY: Final = 0.6
"""Of the brush."""
ROUNDS: Final = {" + ".join(kinds): kinds for kinds in (ROUNDS_WITH_TRUST, PAPERS_ROUNDS)}
"""Rounds to choose from, by their names on the page."""
FORMS: Final = ("PNG files", "COCO JSON")
"""That drawn masks may have when they are downloaded."""
_SIDE: Final = 800
"""Longer side of pictures, px."""
_UNDER_WAY: Final = 2
"""Seconds within which `Page.show` is called after files have come."""


class _OtherFilesError(Exception):
    """The page has other files than those that are being refined."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the page does. Files come as the browser names them, in dicts: Gradio would change their names.

    Attributes:
        folder: All files are below it.
        weights: Files, by their names on the page.
        editor: What is drawn with.
        given: The files of each session; a refinement of others stops.
    """

    folder: Path
    weights: Mapping[str, Path]
    editor: gr.ImageEditor
    given: dict[str | None, list[Upload]] = field(default_factory=dict)

    def show(self, image: Any, masks: Any, request: gr.Request) -> tuple[Any, ...]:
        """The image to draw on, with the outlines of its masks; no result, but what is wrong.

        Neither is touched where the page has other files by then, and no result where a refinement of these has begun.
        """
        given = [*_uploads(image), *_uploads(masks)]
        if others := self.given.get(request.session_hash) != given:
            self.given[request.session_hash] = given
        view = None
        problems: list[str] = []
        with WRITING:
            with TemporaryDirectory(dir=self.folder) as folder, _told(folder, problems.append):
                for upload in _uploads(image):
                    picture = upload.copy_to(Path(folder, "view"))  # so that errors give its name
                    view = _view(picture, image_sizes(picture)[1], ExifUse.apply)
                    if masks:
                        job = Job.of_uploads(Path(folder), upload, _uploads(masks))
                        view = outlines(_view_of(job), job.rles, COLOURS["coarse"])
            shown = view and self._file(view)
        now = self.given[request.session_hash]
        results = _no_result(problems) if others and now is given else (gr.skip(),) * 3
        return shown if now == given else gr.skip(), *results

    def refine(
        self,
        image: Any,
        masks: Any,
        drawing: Any,
        weights: str,
        rounds: str,
        trust: bool,
        threshold: float,
        form: str,
        request: gr.Request,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Iterator[Any]:
        """Pictures before and after, what was done or is wrong, and the file.

        Before that, nothing is yielded but chances for Gradio to stop once the page is left. Where the page gets other
        files, or got them while this waited for its turn, it ends at once, without a result.
        """
        start = time.perf_counter()
        given = [*_uploads(image), *_uploads(masks)]
        while self.given.get(request.session_hash, given) != given:
            if time.perf_counter() - start > _UNDER_WAY:
                return
            time.sleep(0.05)
        self.given[request.session_hash] = given  # another object, so that `show` leaves the results alone
        problems: list[str] = []
        with suppress(_OtherFilesError), TemporaryDirectory(dir=self.folder) as folder, _told(folder, problems.append):
            with WRITING:
                job = self._job(Path(folder), image, masks, drawing, form)
            coarse, refiner = job.rles, _refiner(self.weights[weights], ROUNDS[rounds], trust)

            def check_files() -> None:
                if self.given[request.session_hash] != given:
                    raise _OtherFilesError

            def tell(masks: int, patches: int, of: int) -> None:
                check_files()
                progress((masks, len(coarse)), desc=f"{patches} of {of} patches of the next masks", unit="masks done")

            refined: list[Rle] = []
            for some in job.refine(refiner, threshold, tell):
                refined += some
                yield (gr.skip(),) * 3
            view = _view_of(job)
            pair = outlines(view, coarse, COLOURS["coarse"]), outlines(view, refined, COLOURS["refined"])
            with WRITING:
                written, notes = job.write(refined)
                kept, files = shutil.move(written, mkdtemp(dir=self.folder)), tuple(map(self._file, pair))
            changed = sum(before != after for before, after in zip(coarse, refined, strict=True))
            done = f"<b>{changed} of {len(refined)} masks changed</b>, {time.perf_counter() - start:.1f} s"
            remarks = [_as_html(line, folder) for line in (*job.predictions.notes, *notes, *job.left)]
            check_files()
            yield files, "<br>".join([done, *remarks]), gr.DownloadButton(value=kept, interactive=True)
        if problems:
            yield _no_result(problems)

    def _file(self, picture: PillowImage.Image) -> str:
        """A new one: Gradio writes a picture that is shown again anew, also while the browser reads it."""
        path = Path(mkdtemp(dir=self.folder), "view.png")
        picture.save(path, compress_level=1)
        return str(path)

    def _job(self, folder: Path, image: Any, masks: Any, drawing: Any, form: str) -> Job:
        """What is drawn, if anything is, or else what is loaded; `FormatError` if there is nothing to refine."""
        if image is None:
            raise FormatError("image", None, "is missing; drop one")
        (upload,) = _uploads(image)
        size = image_sizes(upload.copy_to(folder / "view"))[1]
        layers = [] if drawing is None else self.editor.preprocess(EditorData(**drawing))["layers"]
        painted = [layer[..., 3] > 128 * OPACITY for layer in layers]
        drawn = [PillowImage.fromarray(binary_fill_holes(one)).resize(size[::-1]) for one in painted if one.any()]
        if drawn and masks:
            gr.Info("The drawn masks are refined, not the loaded ones.")
        if drawn:
            return Job.of_drawing(folder, upload, [np.asarray(one) for one in drawn], form == FORMS[1])
        if not masks:
            raise FormatError("masks", None, "are missing; load a file, or draw them on the image")
        return Job.of_uploads(folder, upload, _uploads(masks))


def _uploads(files: Any) -> list[Upload]:
    given: Sequence[Any] = files if isinstance(files, list) else [] if files is None else [files]
    return [Upload(Path(file["path"]), file["orig_name"] or Path(file["path"]).name) for file in given]


def _view_of(job: Job) -> PillowImage.Image:
    return _view(job.record.path, job.record.size, job.record.exif)


def _view(path: Path, size: Size, exif: ExifUse) -> PillowImage.Image:
    """A picture whose longer side is `_SIDE` px of an image; arguments as of `bpr.data.images.read_image`."""
    zoom = _SIDE / max(size)
    height, width = (max(round(zoom * side), 1) for side in size)
    return PillowImage.fromarray(read_image(path, size, exif)).resize((width, height))


@lru_cache(2)
def _refiner(weights: Path, rounds: tuple[Round, ...], trust: bool) -> Refiner:
    return Refiner.from_pretrained(weights, trust=trust, rounds=rounds)


def _no_result(problems: Sequence[str]) -> tuple[Any, ...]:
    """For the pictures, what was done, and the file."""
    return None, "".join(problems), gr.DownloadButton(value=None, interactive=False)


@contextmanager
def _told(folder: str, tell: Callable[[str], object]) -> Iterator[None]:
    """Tell in HTML, in one line, what is wrong, as `_as_html` has it. Bugs keep their traceback."""
    try:
        yield
    except Exception as error:
        problem = user_problem(error)
        if problem is None:
            raise
        tell(f'<span role="alert" style="color: var(--error-icon-color)">{_as_html(problem, folder)}</span>')


def _as_html(text: str, folder: str) -> str:
    """Text for the page, in which files in ``folder``, and in those of a `Job` in it, go by their own names."""
    return html.escape(re.sub(rf"{re.escape(folder)}/((view|image|masks)/)?", "", text))
