"""Against a real Label Studio: ``BPR_LABEL_STUDIO=.../bin/label-studio pytest -m label_studio``; minutes."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from bpr import rle
from bpr.integrations.label_studio import regions
from bpr.synthetic.example import example_photograph, read_example

pytestmark = pytest.mark.label_studio
KEY = "0123456789abcdef" * 2 + "01234567"
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="polygon" toName="image" smart="true"><Label value="object"/></PolygonLabels>
<BrushLabels name="brush" toName="image" smart="true"><Label value="object"/></BrushLabels></View>"""
HEADERS = {"Authorization": f"Token {KEY}"}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextmanager
def started(command, url, log, seconds, **environment):
    """A process that answers ``url/health``; it is ended after the block."""
    import httpx

    with log.open("w") as output:
        options = {"stdout": output, "stderr": output, "env": {**os.environ, **environment}}
        with subprocess.Popen([*map(str, command)], **options) as process:
            try:
                for _ in range(seconds):
                    assert process.poll() is None, log.read_text()
                    try:
                        if httpx.get(f"{url}/health", timeout=5).is_success:
                            break
                    except httpx.HTTPError:
                        time.sleep(1)
                yield
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def label_studio(tmp_path_factory):
    """Address of a new server, which may use backends on this machine."""
    program = os.environ.get("BPR_LABEL_STUDIO")
    if not program:
        pytest.skip("set BPR_LABEL_STUDIO to the program label-studio, of a virtual environment of its own")
    folder, port = tmp_path_factory.mktemp("label-studio"), free_port()
    user = ["--username", "someone@example.org", "--password", "secret-1-secret", "--user-token", KEY]
    settings = {"USE_DEFAULT_BANNED_SUBNETS": "false", "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true"}
    settings |= {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "PYTHONPATH": ""}
    settings["LABEL_STUDIO_BASE_DATA_DIR"] = str(folder)
    command = [program, "start", "--no-browser", "--port", port, "--data-dir", folder, *user]
    with started(command, f"http://127.0.0.1:{port}", folder / "log", 600, **settings):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def backend(label_studio, tmp_path_factory):
    port = free_port()
    command = [sys.executable, "-m", "bpr", "label-studio", "--port", port, "--threads", "1"]
    log = tmp_path_factory.mktemp("backend") / "log"
    with started(
        command, f"http://127.0.0.1:{port}", log, 300, LABEL_STUDIO_URL=label_studio, LABEL_STUDIO_API_KEY=KEY
    ):
        yield f"http://127.0.0.1:{port}"


def outlines():
    """The astronaut, (h, w), its hand-drawn outlines, px."""
    example = read_example()
    image = example["images"][0]
    drawn = [one["segmentation"] for one in example["annotations"] if one["image_id"] == image["id"]]
    return image["file_name"], (image["height"], image["width"]), drawn


def drawn_regions():
    """One outline as a polygon, the next as a brush, as Label Studio holds them."""
    _, (height, width), (first, second, *_) = outlines()
    common = {"to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}
    points = (np.reshape(first[0], (-1, 2)) * 100 / (width, height)).tolist()
    value = {"points": points, "closed": True, "polygonlabels": ["object"]}
    polygon = {**common, "id": "drawn", "from_name": "polygon", "type": "polygonlabels", "value": value}
    value = {"format": "rle", "rle": [], "brushlabels": ["object"]}
    brush = {**common, "id": "painted", "from_name": "brush", "type": "brushlabels", "value": value}
    return [polygon, regions.encode(brush, rle.from_segmentation(second, (height, width)))]


@pytest.fixture(scope="module")
def client(label_studio):
    sdk = pytest.importorskip("label_studio_sdk", reason="needs the extra label-studio")
    return sdk.LabelStudio(base_url=label_studio, api_key=KEY)


@pytest.fixture(scope="module")
def project(client, label_studio, backend):
    """A project with one annotated photograph, the backend connected: ids of project, task and backend."""
    import httpx

    made = client.projects.create(title="bpr", label_config=CONFIG)
    name, _, _ = outlines()
    _, png = cv2.imencode(".png", example_photograph(name)[..., ::-1])
    files = {"file": (name, png.tobytes(), "image/png")}
    sent = httpx.post(f"{label_studio}/api/projects/{made.id}/import", files=files, headers=HEADERS, timeout=60)
    sent.raise_for_status()
    (task,) = client.tasks.list(project=made.id)
    client.annotations.create(id=task.id, result=drawn_regions())
    connected = client.ml.create(url=backend, project=made.id, title="bpr", is_interactive=True)
    assert connected.state == "CO"
    return made.id, task.id, connected.id


def check_refined(result, given):
    """Regions are the same but for their outlines, which moved, but not far."""
    _, size, _ = outlines()
    assert [{**one, "value": 0} for one in result] == [{**one, "value": 0} for one in given]
    for before, after in zip(given, result, strict=True):
        assert after["value"].keys() == before["value"].keys()
        (iou,) = rle.iou([regions.decode(before, size)], [regions.decode(after, size)])[0]
        assert 0.8 < iou < 0.999


def test_predictions_of_drawn_regions_are_refined(client, label_studio, project):
    import httpx

    number, task, _ = project
    parameters = {"id": "retrieve_tasks_predictions", "project": number}
    chosen = {"selectedItems": {"all": True, "excluded": []}, "project": number}
    asked = httpx.post(f"{label_studio}/api/dm/actions", params=parameters, json=chosen, headers=HEADERS, timeout=200)
    asked.raise_for_status()
    (prediction,) = client.predictions.list(task=task)
    assert prediction.model_version.startswith("bpr-")
    check_refined(prediction.result, drawn_regions())


def test_regions_are_refined_while_they_are_drawn(label_studio, project):
    import httpx

    _, task, number = project
    for drawn in drawn_regions():
        context = {"task": task, "context": {"result": [drawn]}}
        address = f"{label_studio}/api/ml/{number}/interactive-annotating"
        answer = httpx.post(address, json=context, headers=HEADERS, timeout=200).json()
        check_refined(answer["data"]["result"], [drawn])


def test_label_studio_shows_why_a_task_cannot_be_refined(client, label_studio, project):
    import httpx

    number, _, model = project
    task = client.tasks.create(project=number, data={"image": "http://elsewhere.example/a.png"})
    context = {"task": task.id, "context": {"result": drawn_regions()}}
    address = f"{label_studio}/api/ml/{model}/interactive-annotating"
    (error,) = httpx.post(address, json=context, headers=HEADERS, timeout=200).json()["errors"]
    assert "--allow-host" in error


def test_label_studio_lists_the_version(label_studio, project):
    import httpx

    answer = httpx.get(f"{label_studio}/api/ml/{project[2]}/versions", headers=HEADERS, timeout=60)
    assert json.loads(answer.text)["versions"][0].startswith("bpr-")
