"""What stands on the page. Needs Gradio."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import gradio as gr
from PIL import Image as PillowImage

from bpr.app.page import FORMS, OPACITY, ROUNDS, Page
from bpr.drawing import write_png
from bpr.models.weights import bundled_weights, load_segmenter, resolve_checkpoint
from bpr.synthetic.example import example_photograph, read_example

_HEIGHT: Final = 480
"""Of pictures on the page, px."""
_INTRODUCTION: Final = """# Boundary Patch Refinement
Drop an image. Load its rough masks, or draw them with the brush. Nothing leaves this machine."""


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
        brush=gr.Brush(colors=[("#00dcff", OPACITY)], color_mode="fixed"),
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
            gr.Radio([*ROUNDS], value=own, label="Rounds"),
            gr.Checkbox(True, label="Trust", info="Leave masks alone that look right"),
            gr.Slider(0.05, 0.95, 0.5, step=0.05, label="Threshold"),
            gr.Radio([*FORMS], value=FORMS[0], label="Download drawn masks as"),
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
