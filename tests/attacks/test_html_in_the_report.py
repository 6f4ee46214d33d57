"""Names of files and classes are HTML and scripts, which the page of the report would run."""

import json
import shutil

TITLE = "<script>document.title='run'</script>"
TEXT = f"{TITLE}<img src=x onerror=\"document.title='run'\">\"'&\ud800"
NAME = "<script>alert(1)<&\"'>.png"


def test_text_from_files_stays_text(toy_coco, tmp_path, refine):
    content = json.loads(toy_coco.annotations.read_text())
    content["categories"][0]["name"] = TEXT
    image = content["images"][0]
    shutil.move(toy_coco.images / image["file_name"], toy_coco.images / NAME)
    image["file_name"] = NAME
    folder = tmp_path / "<script>alert(2)<" / "script>"
    folder.mkdir(parents=True)
    (folder / "instances.json").write_text(json.dumps(content))
    entries = json.loads(toy_coco.predictions.read_text())
    entries[3]["segmentation"] = [[1]]
    (folder / "coarse.json").write_text(json.dumps(entries))
    given = f"images={toy_coco.images}", f"predictions={folder}/coarse.json", f"annotations={folder}/instances.json"
    refine(*(f"{key}='{value}'" for key, _, value in (one.partition("=") for one in given)),
           f"output={tmp_path / 'refined.json'}", "report=true", "on_error=keep")  # fmt: skip
    page = (tmp_path / "refined.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1  # ours
    assert "alert(2)" in page
    assert "src=x" in page
    assert "<img src=x" not in page
