"""Text in files clears the screen, moves the cursor or forges a line of the terminal that a message is printed on."""

import json
import shutil

import pytest

from bpr.cli.command import exit_code, printable
from bpr.formats.errors import FormatError

ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b2J\r\x08\u202e\ud800"


def test_what_commands_a_terminal_is_written_as_python_does():
    assert printable(ESCAPES) == "\\x1b[2J\\x1b]0;title\\x07\\x9b2J\\r\\x08\\u202e\\ud800"
    assert printable("Bär 漢字\n😀") == "Bär 漢字\n😀"


def test_an_error_is_one_line_without_escapes(capsys):
    def work():
        raise FormatError(f"a{ESCAPES}.json", f"entry\n{ESCAPES}", f"is bad{ESCAPES}")

    assert exit_code(work) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed[:-1].isprintable()


@pytest.mark.parametrize("keep", [False, True])
def test_a_run_prints_none(toy_coco, tmp_path, refine, capsys, keep):
    content, entries = (json.loads(path.read_text()) for path in (toy_coco.annotations, toy_coco.predictions))
    content["categories"][0]["name"] = ESCAPES
    image, name = content["images"][0], "\x1b[2J.png"
    shutil.move(toy_coco.images / image["file_name"], toy_coco.images / name)
    image["file_name"] = f"elsewhere/{name}"
    entries[3]["image_id"] = ESCAPES
    toy_coco.annotations.write_text(json.dumps(content))
    toy_coco.predictions.write_text(json.dumps(entries))
    given = f"images={toy_coco.images}", f"predictions={toy_coco.predictions}", f"annotations={toy_coco.annotations}"
    if keep:
        refine(*given, f"output={tmp_path / 'refined.json'}", "on_error=keep")
        printed = capsys.readouterr().out
        assert "such as elsewhere/\\x1b[2J.png" in printed
        assert "image_id" in printed
    else:
        with pytest.raises(SystemExit) as end:
            refine(*given, f"output={tmp_path / 'refined.json'}")
        printed = str(end.value)
    assert printed.replace("\n", "").isprintable()
