"""The page: what stands on it, and what happens when it is used. Needs Gradio."""

import html
import json
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
from bpr.drawing import COLOURS, outlines, write_png
from bpr.formats.errors import FormatError
from bpr.models.weights import bundled_weights, load_segmenter, resolve_checkpoint
from bpr.structures import PAPERS_ROUNDS, ROUNDS_WITH_TRUST, ExifUse, Rle, Round, Size
from bpr.synthetic.example import example_photograph, read_example

_SIDE: Final = 800
"""Longer side of pictures, px."""
_HEIGHT: Final = 480
"""Of pictures on the page, px."""
_OPACITY: Final = 0.6
"""Of the brush."""
_UNDER_WAY: Final = 2
"""Seconds within which `Page.show` is called after files have come."""
_ROUNDS: Final = {" + ".join(kinds): kinds for kinds in (ROUNDS_WITH_TRUST, PAPERS_ROUNDS)}
_FORMS: Final = ("PNG files", "COCO JSON")
_INTRODUCTION: Final = """# Boundary Patch Refinement
Drop an image. Load its rough masks, or draw them with the brush. Nothing leaves this machine."""


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
            coarse, refiner = job.rles, _refiner(self.weights[weights], _ROUNDS[rounds], trust)

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
        painted = [layer[..., 3] > 128 * _OPACITY for layer in layers]
        drawn = [PillowImage.fromarray(binary_fill_holes(one)).resize(size[::-1]) for one in painted if one.any()]
        if drawn and masks:
            gr.Info("The drawn masks are refined, not the loaded ones.")
        if drawn:
            return Job.of_drawing(folder, upload, [np.asarray(one) for one in drawn], form == _FORMS[1])
        if not masks:
            raise FormatError("masks", None, "are missing; load a file, or draw them on the image")
        return Job.of_uploads(folder, upload, _uploads(masks))


def build(ckpt: str, folder: Path) -> gr.Blocks:
    """The page, with ``ckpt`` for its first weights; all files are below ``folder``.

    Raises:
        bpr.models.weights.CheckpointError: If there are no such weights.
    """
    weights = {ckpt: resolve_checkpoint(ckpt), **bundled_weights()}
    examples = _make_examples(folder / "examples")
    first = next(iter(examples))
    with gr.Blocks(title="bpr", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown(_INTRODUCTION)
        with gr.Row(equal_height=True):
            image = gr.File(examples[first][0], label="Image", height=100, elem_id="image")
            masks = gr.File(examples[first][1], file_count="multiple", label="Rough masks", height=100, elem_id="masks")
            example = gr.Radio([*examples], value=first, label="Examples")
        with gr.Row():
            with gr.Column():  # the editor centres its image in the width that it has at first
                editor = _editor()
            with gr.Column():
                slider = gr.ImageSlider(
                    label="Rough | refined", interactive=False, height=_HEIGHT, max_height=_HEIGHT, elem_id="slider"
                )
        with gr.Row():
            status = gr.HTML(elem_id="status")
            download = gr.DownloadButton("Download", interactive=False)
            button = gr.Button("Refine", variant="primary")
        settings = _settings(weights, ckpt)
        page, results = Page(folder, weights, editor), [slider, status, download]
        shown = {"fn": page.show, "inputs": [image, masks], "outputs": [editor, *results], "preprocess": False}
        # Files may come while others are shown; an event that Gradio's queue gets as another ends may get no answer.
        shown |= {"trigger_mode": "multiple", "queue": False}
        example.input(examples.get, example, [image, masks], queue=False).then(**shown)
        image.clear(None, None, [masks, example], js="() => [null, null]").then(**shown)
        gr.on([blocks.load, image.upload, masks.upload, masks.delete, masks.clear], **shown)
        given = [image, masks, editor, *settings]
        button.click(page.refine, given, results, preprocess=False, trigger_mode="multiple")
    return blocks


def _editor() -> gr.ImageEditor:
    return gr.ImageEditor(
        label="Or draw: outline or fill each object in a layer of its own",
        sources=(),
        transforms=(),
        brush=gr.Brush(colors=[("#00dcff", _OPACITY)], color_mode="fixed"),
        layers=gr.LayerOptions(layers=["Object 1", "Object 2", "Object 3"]),
        buttons=[],
        height=_HEIGHT,
        elem_id="editor",
    )


def _settings(weights: Mapping[str, Path], ckpt: str) -> list[gr.Component]:
    """As `Page.refine` takes them, from ``weights`` on."""
    own = " + ".join(load_segmenter(weights[ckpt]).rounds)
    with gr.Row(equal_height=True):
        return [
            gr.Dropdown([*weights], value=ckpt, label="Weights"),
            gr.Radio([*_ROUNDS], value=own, label="Rounds"),
            gr.Checkbox(True, label="Trust", info="Leave masks alone that look right"),
            gr.Slider(0.05, 0.95, 0.5, step=0.05, label="Threshold"),
            gr.Radio([*_FORMS], value=_FORMS[0], label="Download drawn masks as"),
        ]


def _make_examples(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """The files of each photograph with hand-drawn outlines, by its name."""
    content, examples = read_example(), {}
    for image in content["images"]:
        path = folder / image["file_name"]
        write_png(PillowImage.fromarray(example_photograph(path.name)), path)
        drawn = [outline for outline in content["annotations"] if outline["image_id"] == image["id"]]
        text = json.dumps({**content, "images": [image], "annotations": drawn})
        path.with_suffix(".json").write_text(text, encoding="utf-8")
        examples[path.stem] = str(path), [str(path.with_suffix(".json"))]
    return examples


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
