"""The HTTP side: what Label Studio asks of a machine learning backend (https://labelstud.io/guide/ml_create)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from traceback import format_exc
from typing import Any, Final

from bpr.cli.command import printable
from bpr.cli.signals import say
from bpr.integrations.label_studio.errors import TaskError
from bpr.integrations.label_studio.images import ImageSource
from bpr.integrations.label_studio.tasks import RefineMasks, given_result, image_fields, refine_task

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
"""A request -> what is answered, both as JSON objects."""

Routes = Mapping[str, Answer]

MOST_BYTES: Final = 256 * 2**20
"""Of a request: brushes are long lists of numbers."""
_SECONDS: Final = 60
"""For which a client may be silent in the middle of a request."""
_LONGEST_REASON: Final = 300


@dataclass
class LabelStudioBackend:
    """Refines the regions of tasks, one request at a time.

    Attributes:
        refine: Refines the masks of one image.
        source: Where the images are.
        version: What predictions carry as ``model_version``; Label Studio asks no second time for a task that has one.
        tolerance: px by which outlines of polygons may move to save corners.
    """

    refine: RefineMasks
    source: ImageSource
    version: str = "bpr"
    tolerance: float = 0.0
    _turn: Any = field(default_factory=Lock)

    def predict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to ``/predict``: for each task its prediction, or none if it has no masks or cannot be refined.

        Raises:
            TaskError: If the request is none, or no task of it could be refined.
        """
        tasks, params = request.get("tasks"), request.get("params")
        context = params.get("context") if isinstance(params, Mapping) else None
        if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
            raise TaskError("the request must have 'tasks', a list of objects")
        fields = image_fields(request.get("label_config"))
        results, errors = [], []
        for task in tasks:
            try:
                with self._turn:
                    results.append(self._predict(task, context, fields))
            except TaskError as error:
                errors.append(f"task {task.get('id')}: {error}")
                results.append([])
        if errors and len(errors) == len(tasks):
            raise TaskError(errors[0])
        for line in errors:
            say(printable(f"error: {line}"))
        return {"results": results, "model_version": self.version, "errors": errors}

    def _predict(self, task: Mapping[str, Any], context: Any, fields: Mapping[str, str]) -> Any:
        given = given_result(task, context, self.version)
        refined = refine_task(task, given, fields, self.source, self.refine, self.tolerance)
        kept = "".join(f"; {count} kept, since each {reason}" for reason, count in refined.kept.items())
        said = f"task {task.get('id')}: {refined.changed} of {len(given)} entries refined{kept}"
        say(printable(said))
        if not given and context is None:
            return []
        return {"result": refined.result, "model_version": self.version}

    def setup(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to ``/setup``; the address and the token in the request are not used: anyone could send them."""
        return {"model_version": self.version}

    def versions(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to ``/versions``."""
        return {"versions": [self.version]}

    def health(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to ``/health``."""
        return {"status": "UP", "model_class": type(self).__name__}

    def ignore(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to ``/webhook``: nothing is trained."""
        return {}


def make_server(host: str, port: int, backend: LabelStudioBackend) -> ThreadingHTTPServer:
    """A server that listens, but does not serve yet; ``port`` 0 takes a free one. `OSError` if it cannot listen."""
    asked: Routes = {"/health": backend.health, "/": backend.health, "/versions": backend.versions}
    posted: Routes = {"/predict": backend.predict, "/setup": backend.setup, "/versions": backend.versions}

    routes = {"GET": asked, "POST": {**posted, "/webhook": backend.ignore}}
    try:
        return ThreadingHTTPServer((host, port), partial(_Handler, routes))
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}; give another --host or --port") from error


class _Handler(BaseHTTPRequestHandler):
    """Answers in JSON; errors as ``{"error": ...}`` of one line, also in the status line, which Label Studio shows."""

    timeout = _SECONDS

    def __init__(self, routes: Mapping[str, Routes], *connection: Any) -> None:
        self.routes = routes
        super().__init__(*connection)

    def do_GET(self) -> None:
        self._answer(dict)

    def do_POST(self) -> None:
        self._answer(self._body)

    def log_message(self, *_: Any) -> None:
        """Say nothing of requests that went well."""

    def _answer(self, body: Callable[[], Mapping[str, Any]]) -> None:
        answer = self.routes[self.command].get(self.path.partition("?")[0])
        if answer is None:
            self._send(404, {"error": f"{self.command} {self.path[:100]}: there is no such address here"})
            return
        try:
            status, content = 200, answer(body())
        except TaskError as error:
            status, content = 422, {"error": " ".join(str(error).split())}
        except Exception as error:
            say(printable(format_exc()))
            status, content = 500, {"error": f"{type(error).__name__} in bpr; its log says where"}
        self._send(status, content)

    def _body(self) -> Mapping[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            raise TaskError(f"a request needs a Content-Length of {MOST_BYTES} bytes at most, got {length or 'none'}")
        try:
            content = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise TaskError(f"the request is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise TaskError(f"the request must be a JSON object, got {type(content).__name__}")
        return content

    def _send(self, status: int, content: Mapping[str, Any]) -> None:
        data = json.dumps(content).encode()
        reason = content["error"][:_LONGEST_REASON].encode("ascii", "replace").decode() if status >= 400 else None
        if status >= 400:
            say(printable(f"error: {content['error']}"))
        self.send_response(status, reason)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
