"""``bpr label-studio``: a machine learning backend of Label Studio that refines the brushes and polygons of a task."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bpr.api.refiner import Refiner
from bpr.cli.command import at_least, command_parser, exit_code
from bpr.cli.signals import exit_at_signals, exit_status, raise_at_signals, say
from bpr.integrations.label_studio.regions import require_sdk
from bpr.structures import SettingError

if TYPE_CHECKING:
    from bpr.integrations.label_studio.images import ImageSource


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; 130 or 143 after them, 2 if the server cannot start."""
    chosen = _parse(arguments)
    exit_at_signals()

    def work() -> None:
        require_sdk()
        from bpr.integrations.label_studio.server import LabelStudioBackend, make_server  # which need what it needs

        refiner = Refiner.from_pretrained(chosen.ckpt, device=chosen.device, threads=chosen.threads)
        name = f"bpr-{version('bpr')}-{Path(chosen.ckpt).stem}"
        backend = LabelStudioBackend(refiner, _source(chosen), name, chosen.tolerance)
        with make_server(chosen.host, chosen.port, backend) as server:
            say(f"{name} serves Label Studio on http://{chosen.host}:{server.server_address[1]}; Ctrl-C ends it")
            raise_at_signals()
            server.serve_forever()

    try:
        return exit_code(work)
    except KeyboardInterrupt as error:
        return exit_status(error)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = command_parser("bpr label-studio", __doc__)
    options.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    options.add_argument("--port", type=at_least(0, at_most=65_535), default=9090, help="0: a free one (default: 9090)")
    options.add_argument("--ckpt", default="hrnet18s", help="checkpoint, or the name of bundled weights (hrnet18s)")
    options.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    options.add_argument("--threads", type=at_least(1), metavar="N", help="CPU threads (default: all)")
    moved = "px by which outlines of polygons may move to save corners; 0: the exact mask (default: 0.5)"
    options.add_argument("--tolerance", type=float, default=0.5, metavar="PX", help=moved)
    other = "another host, NAME or NAME:PORT, that images may be fetched from; may be repeated"
    options.add_argument("--allow-host", action="append", default=[], metavar="HOST", help=other)
    local = "root of Label Studio's local files, if it can be read from here"
    options.add_argument("--local-files", type=Path, metavar="DIR", help=local)
    return options.parse_args(arguments)


def _source(chosen: argparse.Namespace) -> "ImageSource":
    from bpr.integrations.label_studio.images import ImageSource

    url, key = (os.environ.get(f"LABEL_STUDIO_{name}", "") for name in ("URL", "API_KEY"))
    if url and not url.startswith(("http://", "https://")):
        raise SettingError(f"LABEL_STUDIO_URL must begin with http:// or https://, got {url}")
    if not chosen.tolerance >= 0:
        raise SettingError(f"--tolerance must be 0 px or more, got {chosen.tolerance}")
    if chosen.local_files is not None and not chosen.local_files.is_dir():
        raise SettingError(f"--local-files {chosen.local_files}: is no folder")
    if not (url and key):
        say("images on the server cannot be read: LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not both set")
    return ImageSource(url, key, chosen.allow_host, chosen.local_files)


if __name__ == "__main__":
    sys.exit(main())
