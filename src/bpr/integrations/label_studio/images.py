"""Images of tasks: from the Label Studio server, from a folder, or from hosts that were allowed; from nowhere else."""

import base64
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Final
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from bpr.integrations.label_studio.errors import TaskError

MOST_BYTES: Final = 200 * 2**20
"""Of an image file."""
_CLOUD: Final = ("s3://", "gs://", "azure-blob://")
_SECONDS: Final = 30.0
_MOST_REDIRECTS: Final = 3
_NO_SERVER: Final = "set LABEL_STUDIO_URL to the address of Label Studio, and LABEL_STUDIO_API_KEY to a token of a user"
_NO_HOST: Final = "its host is neither that of LABEL_STUDIO_URL nor one given with --allow-host"


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where images come from.

    Attributes:
        url: Address of the Label Studio server, or empty.
        key: Token of one of its users, personal (a JWT) or legacy, or empty; sent to this server only.
        hosts: Other hosts, ``name`` or ``name:port``, from which images may be fetched.
        folder: The root of Label Studio's local files (``/data/local-files/?d=...``), where it can be read from here.
    """

    url: str = ""
    key: str = ""
    hosts: Collection[str] = ()
    folder: Path | None = None

    @contextmanager
    def fetch(self, reference: object, task: object) -> Iterator[Path]:
        """The file of the image that a task refers to, for the block.

        Args:
            reference: What is in the data of the task: a path on the server, the URI of an image in a cloud storage
                of the project, or a URL.
            task: Number of the task.

        Raises:
            TaskError: If it is no such reference, the host is not allowed, or there is no image.
        """
        if not isinstance(reference, str) or not reference:
            raise TaskError(f"the image must be given by a path or URL, got {reference!r}")
        with _fetching(reference):
            local = self._in_folder(reference)
        if local is not None:
            yield local
            return
        with NamedTemporaryFile(prefix="bpr-", suffix=".image") as file:
            with _fetching(reference):
                self._download(self._locate(reference, task), file)
            file.flush()
            yield Path(file.name)

    def _in_folder(self, reference: str) -> Path | None:
        parts = urlsplit(reference)
        if self.folder is None or not parts.path.startswith("/data/local-files") or parts.netloc:
            return None
        (name,) = parse_qs(parts.query).get("d", [""])[-1:]
        path = (self.folder / name.lstrip("/")).resolve()
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise TaskError(f"{reference}: no such file in {self.folder}; give --local-files the root of local files")
        return path

    def _locate(self, reference: str, task: object) -> str:
        if reference.startswith(_CLOUD):
            code = base64.urlsafe_b64encode(reference.encode()).decode()
            reference = f"/tasks/{task}/presign/?fileuri={code}"
        elif reference.startswith("upload/"):
            reference = f"/data/{reference}"
        if reference.startswith("/"):
            if not self.url:
                raise TaskError(f"{reference}: is on the server; {_NO_SERVER}")
            return self.url.rstrip("/") + reference
        return reference

    def _download(self, address: str, file: IO[bytes]) -> None:
        with httpx.Client(timeout=_SECONDS) as client:
            for _ in range(_MOST_REDIRECTS + 1):
                self._check_host(address)
                with client.stream("GET", address, headers=self._headers(client, address)) as answer:
                    if answer.has_redirect_location:
                        address = urljoin(address, answer.headers["location"])
                        continue
                    if answer.status_code in (401, 403):
                        raise TaskError(f"{address}: access denied ({answer.status_code}); check LABEL_STUDIO_API_KEY")
                    answer.raise_for_status()
                    _save(address, answer, file)
                    return
        raise TaskError(f"{address}: more than {_MOST_REDIRECTS} redirects")

    def _check_host(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or parts.netloc not in {urlsplit(self.url).netloc, *self.hosts} - {""}:
            raise TaskError(f"{address[:200]}: is not fetched, {_NO_HOST}")

    def _headers(self, client: httpx.Client, address: str) -> dict[str, str]:
        """The key, for the server alone; personal tokens are exchanged for one that lives some minutes."""
        if not self.key or urlsplit(address)[:2] != urlsplit(self.url)[:2]:
            return {}
        if self.key.count(".") != 2:
            return {"Authorization": f"Token {self.key}"}
        answer = client.post(f"{self.url.rstrip('/')}/api/token/refresh", json={"refresh": self.key})
        if answer.is_client_error:
            raise TaskError("LABEL_STUDIO_API_KEY was refused; make a new token on the page of your account")
        return {"Authorization": f"Bearer {answer.raise_for_status().json()['access']}"}


@contextmanager
def _fetching(reference: str) -> Iterator[None]:
    """Have a `TaskError` raised for what is no path, URL or token, and for what cannot be reached."""
    try:
        yield
    except TaskError:
        raise
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, OSError) as error:
        problem = f"could not be fetched ({error}); check LABEL_STUDIO_URL and the task"
        raise TaskError(f"{reference!r}: {problem}") from error


def _save(address: str, answer: httpx.Response, file: IO[bytes]) -> None:
    received = 0
    for chunk in answer.iter_bytes():
        received += len(chunk)
        if received > MOST_BYTES:
            raise TaskError(f"{address}: is larger than {MOST_BYTES >> 20} MiB")
        file.write(chunk)
