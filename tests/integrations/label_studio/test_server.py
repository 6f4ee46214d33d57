"""The protocol over HTTP, without Label Studio."""

import json
import socket
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from bpr import rle
from bpr.api.refiner import Refiner
from bpr.integrations.label_studio import images, regions, tasks
from bpr.integrations.label_studio.__main__ import main
from bpr.integrations.label_studio.images import ImageSource
from bpr.integrations.label_studio.server import LabelStudioBackend, make_server
from bpr.structures import PatchSpec

from .conftest import CONFIG, SIZE, grown, png, polygon, task

httpx = pytest.importorskip("httpx")
HTTP = httpx.Client(timeout=60)


@contextmanager
def serving(server):
    thread = Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def backend(refine=grown, **source):
    with serving(make_server("127.0.0.1", 0, LabelStudioBackend(refine, ImageSource(**source), "bpr-1"))) as url:
        yield url


def predict(url, *given, context=None, label_config=CONFIG):
    request = {"tasks": given, "label_config": label_config, "project": "1.2", "params": {"context": context}}
    return HTTP.post(f"{url}/predict", json=request)


def results(url, *given, **options):
    answer = predict(url, *given, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def annotated(*entries, **content):
    return task(annotations=[{"id": 1, "result": list(entries), "updated_at": "2026-01-01"}], **content)


def larger(entry):
    """The entry as `grown` leaves it."""
    return regions.encode(entry, grown(np.zeros((*SIZE, 3)), [regions.decode(entry, SIZE)])[0])


class LabelStudio(BaseHTTPRequestHandler):
    """Serves one image as Label Studio does; ``/away`` and presigned URIs lead to ``elsewhere``."""

    asked, tokens, elsewhere = [], ("Token key",), None

    def do_GET(self):
        type(self).asked.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith(("/away", "/tasks/7/presign/")):
            self.send_response(303)
            self.send_header("Location", self.elsewhere or "/loop")
        elif self.path == "/open.png" or self.headers.get("Authorization") in self.tokens:
            self.send_response(200)
        else:
            self.send_response(401)
        self.end_headers()
        self.wfile.write(b"no image" if "broken" in self.path else png())

    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/api/token/refresh"
        self.send_response(200 if given == {"refresh": "a.b.c"} else 401)
        self.end_headers()
        self.wfile.write(b'{"access": "short"}')

    def log_message(self, *_):
        pass


@contextmanager
def label_studio(**settings):
    kind = type("Handler", (LabelStudio,), {"asked": [], **settings})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), kind)) as url:
        yield url, kind.asked


def test_health_setup_versions_and_webhook_answer_as_label_studio_expects():
    with backend() as url:
        assert HTTP.get(f"{url}/health").json()["status"] == "UP"
        setup = {"project": "1.2", "schema": CONFIG, "hostname": "http://evil", "access_token": "x"}
        assert HTTP.post(f"{url}/setup", json=setup).json() == {"model_version": "bpr-1"}
        for answer in (HTTP.get(f"{url}/versions"), HTTP.post(f"{url}/versions", json={})):
            assert answer.json() == {"versions": ["bpr-1"]}
        assert HTTP.post(f"{url}/webhook", json={"action": "ANNOTATION_CREATED"}).json() == {}
        assert HTTP.get(f"{url}/train").status_code == 404


def test_a_prediction_has_all_entries_and_only_the_geometries_are_new(photo):
    choice = {"id": "r0", "type": "choices", "value": {"choices": ["good"]}, "to_name": "image"}
    described = polygon(0, type="textarea", from_name="note")  # of the same region: it has its geometry too
    given = [polygon(0), choice, described, {"type": "relation", "from_id": "r0", "to_id": "r1"}]
    with backend(folder=photo) as url:
        ((prediction),) = results(url, annotated(*given))
    expected = [larger(given[0]), choice, larger(described), given[3]]
    assert prediction == {"result": expected, "model_version": "bpr-1"}
    assert expected[0]["value"]["points"] != given[0]["value"]["points"]


def test_bad_regions_are_kept_as_they_came_and_counted(photo, capfd):
    bad = [polygon(1, points=[(1, 1)]), polygon(2, to_name="audio"), polygon(3, original_width=61)]
    with backend(folder=photo) as url:
        (prediction,) = results(url, annotated(polygon(0), *bad))
    assert prediction["result"] == [larger(polygon(0)), *bad]
    log = capfd.readouterr().err
    for text in ("task 7: 1 of 4 entries refined", "three points", "'audio'", "(40, 61)"):
        assert text in log


def test_a_mask_that_did_not_change_comes_back_with_the_points_it_had(photo):
    with backend(lambda _, masks: masks, folder=photo) as url:
        assert results(url, annotated(polygon()))[0]["result"] == [polygon()]


def test_what_people_drew_last_is_refined_else_predictions_of_others(photo):
    def version(number, **fields):
        return {"result": [polygon(number)], **fields}

    cancelled = version(1, updated_at="2026-03-09", was_cancelled=True)
    drawn = [version(2, updated_at="2026-03-01"), cancelled, version(3, updated_at="2026-03-02")]
    predicted = [
        version(4, created_at="2026-02", model_version="m"),
        version(5, created_at="2027", model_version="bpr-1"),
    ]
    for content, chosen in (
        ({"annotations": drawn, "predictions": predicted}, "r3"),
        ({"annotations": drawn, "drafts": [version(6, updated_at="2026-03-04")]}, "r6"),
        ({"annotations": [cancelled], "predictions": predicted}, "r4"),
    ):
        assert tasks.given_result(task(**content), None, "bpr-1")[0]["id"] == chosen
    with backend(folder=photo) as url:
        assert results(url, task(predictions=predicted[1:]), task()) == [[], []]
        (interactive,) = results(url, task(annotations=drawn), context={"result": [polygon(8)]})
        assert interactive["result"] == [larger(polygon(8))]
        assert results(url, task(), context={"result": []}) == [{"result": [], "model_version": "bpr-1"}]


def test_a_task_that_fails_leaves_the_others_alone_and_alone_it_is_an_error_in_one_line(photo, capfd):
    missing = annotated(polygon(), id=8, data={"photo": "/data/local-files/?d=b.png"})
    with backend(folder=photo) as url:
        first, second = results(url, missing, annotated(polygon()))
        assert (first, second["result"]) == ([], [larger(polygon())])
        assert capfd.readouterr().err.count("error: task 8: ") == 1
        answer = predict(url, missing)
    assert answer.status_code == 422
    assert capfd.readouterr().err.count("error: task 8: ") == 1
    assert answer.json()["error"].startswith("task 8: /data/local-files/?d=b.png: no such file in ")
    assert answer.json()["error"][:300] == answer.reason_phrase  # what Label Studio shows


@pytest.mark.parametrize(
    "bad",
    [
        {"data": {"photo": f"/data/local-files/?d={'a' * 300}.png"}},
        {"annotations": [{"result": [{**polygon(), "to_name": ["x"]}]}]},
    ],
)
def test_any_fault_of_a_task_leaves_the_others_alone_and_no_task_commands_the_terminal(photo, capfd, bad):
    strange = {**annotated(polygon(), id="\x1b]0;owned\x07"), **bad}
    with backend(folder=photo) as url:
        _, second = results(url, strange, annotated(polygon()))
    assert second["result"] == [larger(polygon())]
    assert "\x1b" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["../secret.png", "/../secret.png", "link.png", "%2e%2e/secret.png"])
def test_nothing_outside_of_the_folder_of_local_files_is_read(photo, name):
    (photo.parent / "secret.png").write_bytes(png())
    (photo / "link.png").symlink_to(photo.parent / "secret.png")
    with backend(folder=photo) as url:
        answer = predict(url, annotated(polygon(), data={"photo": f"/data/local-files/?d={name}"}))
    assert "no such file" in answer.json()["error"]


def test_a_name_that_no_file_can_have_is_named(photo):
    with backend(folder=photo) as url:
        answer = predict(url, annotated(polygon(), data={"photo": "/data/local-files/?d=%00"}))
    assert "could not be fetched" in answer.json()["error"]


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("/data/upload/1/a.png", "/data/upload/1/a.png"),
        ("upload/1/a.png", "/data/upload/1/a.png"),
        ("/data/local-files/?d=a.png", "/data/local-files/?d=a.png"),
        ("//evil.example/a.png", "/evil.example/a.png"),
    ],
)
def test_images_come_from_the_server_with_the_key(reference, path):
    with label_studio() as (server, asked), backend(url=server, key="key") as url:
        assert results(url, annotated(polygon(), data={"photo": reference}))[0]["result"] == [larger(polygon())]
    assert asked == [(path, "Token key")]


def test_a_personal_token_is_exchanged():
    given = annotated(polygon(), data={"photo": "/data/a.png"})
    with label_studio(tokens=("Bearer short",)) as (server, asked):
        with backend(url=server, key="a.b.c") as url:
            assert results(url, given)[0]["result"] == [larger(polygon())]
        with backend(url=server, key="a.b.d") as url:
            assert "LABEL_STUDIO_API_KEY was refused" in predict(url, given).json()["error"]
    assert asked == [("/data/a.png", "Bearer short")]


def test_cloud_images_are_fetched_through_the_server_and_only_from_hosts_that_are_allowed():
    given = annotated(polygon(), data={"photo": "s3://bucket/a.png"})
    with (
        label_studio() as (bucket, seen),
        label_studio(elsewhere=f"{bucket}/open.png") as (server, asked),
    ):
        with backend(url=server, key="key") as url:
            assert "--allow-host" in predict(url, given).json()["error"]
        assert not seen
        with backend(url=server, key="key", hosts=[bucket.removeprefix("http://")]) as url:
            assert results(url, given)[0]["result"] == [larger(polygon())]
    assert [path for path, _ in asked] == ["/tasks/7/presign/?fileuri=czM6Ly9idWNrZXQvYS5wbmc="] * 2
    assert seen == [("/open.png", None)]  # the key stays with the server


def test_other_hosts_are_not_asked():
    with label_studio() as (other, seen), backend(url="http://label.example", key="key") as url:
        for address in (
            f"{other}/open.png",
            f"{other.replace('127', 'label.example@127')}/open.png",
            "file:///etc/passwd",
        ):
            answer = predict(url, annotated(polygon(), data={"photo": address}))
            assert answer.status_code == 422
            assert "--allow-host" in answer.json()["error"]
    assert not seen


@pytest.mark.parametrize(
    ("data", "settings", "problem"),
    [
        ({"photo": "/data/a.png"}, {"key": "wrong"}, "access denied (401); check LABEL_STUDIO_API_KEY"),
        ({"photo": "/data/a.png"}, {"url": ""}, "set LABEL_STUDIO_URL"),
        ({"photo": "/data/a.png"}, {"url": "http://127.0.0.1:9"}, "check LABEL_STUDIO_URL"),
        ({"photo": "/data/broken.png"}, {}, "cannot be decoded"),
        ({"photo": "/away"}, {}, "redirects"),
        ({"photo": "/data/a\x7f.png"}, {}, "could not be fetched"),
        ({"photo": "http://["}, {}, "could not be fetched"),
        ({"photo": 3}, {}, "got 3"),
        ({}, {}, "got None"),
        (None, {}, "got None"),
    ],
)
def test_an_image_that_cannot_be_had_is_named_with_a_remedy(data, settings, problem):
    with label_studio(elsewhere="/away") as (server, _), backend(**{"url": server, "key": "key", **settings}) as url:
        answer = predict(url, annotated(polygon(), data=data))
    assert (answer.status_code, problem in answer.json()["error"]) == (422, True), answer.text
    assert "\n" not in answer.json()["error"]


def test_large_files_and_images_are_not_read(photo, monkeypatch):
    with label_studio() as (server, _), backend(url=server, key="key") as url:
        monkeypatch.setattr(images, "MOST_BYTES", 50)
        assert "larger than" in predict(url, annotated(polygon(), data={"photo": "/a.png"})).json()["error"]
    monkeypatch.setattr(tasks, "MOST_PIXELS", 2399)
    with backend(folder=photo) as url:
        assert "2399 pixels" in predict(url, annotated(polygon())).json()["error"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "no JSON"),
        (b"[" * 10**5, "no JSON"),
        (b"[]", "JSON object"),
        (b'{"tasks": 3}', "'tasks'"),
        (b'{"tasks": [3]}', "'tasks'"),
        (b'{"tasks": 3, "params": "x"}', "'tasks'"),
        (b'{"tasks": []}', "label_config"),
        (b'{"tasks": [], "label_config": "<View>"}', "label_config"),
    ],
)
def test_a_request_that_is_none_is_refused(content, problem):
    with backend() as url:
        answer = HTTP.post(f"{url}/predict", content=content)
    assert (answer.status_code, problem in answer.json()["error"]) == (422, True), answer.text


def test_a_request_without_a_length_or_with_a_large_one_is_not_read():
    with backend() as url:
        for header in (b"", b"Content-Length: 999999999999\r\n", b"Transfer-Encoding: chunked\r\n"):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as client:
                client.sendall(b"POST /predict HTTP/1.0\r\n" + header + b"\r\n")
                assert b"Content-Length" in client.recv(9999)


def test_a_bug_is_named_as_one_and_the_service_goes_on(photo, capfd):
    def fail(*_):
        raise RuntimeError("secret")

    with backend(fail, folder=photo) as url:
        answer = predict(url, annotated(polygon()))
        assert (answer.status_code, answer.json()) == (500, {"error": "RuntimeError in bpr; its log says where"})
        assert HTTP.get(f"{url}/health").status_code == 200
    assert "RuntimeError: secret" in capfd.readouterr().err


def test_a_refiner_refines(photo, weights):
    refiner = Refiner.from_pretrained(weights, patch=PatchSpec(size=32), device="cpu")
    with backend(refiner, folder=photo) as url:
        (entry,) = results(url, annotated(polygon()))[0]["result"]
    before, after = regions.decode(polygon(), SIZE), regions.decode(entry, SIZE)
    assert 0 < rle.iou([before], [after])[0, 0] < 1


def test_the_command_says_what_keeps_it_from_serving(monkeypatch, capsys, weights, tmp_path):
    pytest.importorskip("label_studio_sdk", reason="needs the extra label-studio")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, address, problem in (
            ([], "localhost:8080", "http://"),
            (["--tolerance", "-1"], "", "--tolerance"),
            (["--local-files", str(tmp_path / "absent")], "", "no folder"),
            (["--port", port], "", "another --host or --port"),
        ):
            monkeypatch.setenv("LABEL_STUDIO_URL", address)
            assert main(["--ckpt", str(weights), "--device", "cpu", *arguments]) == 2
            assert problem in capsys.readouterr().err
            monkeypatch.delenv("LABEL_STUDIO_URL")
