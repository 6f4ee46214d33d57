"""``bpr app``: a page in the browser, served by this machine, that refines masks."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from bpr.cli.command import at_least, command_parser, exit_code
from bpr.cli.signals import exit_at_signals, exit_status, raise_at_signals
from bpr.structures import SettingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C (exit status 130) or SIGTERM (143); 2 if it cannot be served."""
    parser = command_parser("bpr app", "A page that refines masks, drawn or from files.")
    parser.add_argument("--ckpt", default="hrnet18s", help="weights, as of refine.py; default: those that ship")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default: of this machine alone")
    parser.add_argument("--port", type=at_least(1, at_most=65_535), help="default: the first free one from 7860 on")
    chosen = parser.parse_args(arguments)
    exit_at_signals()
    try:
        return exit_code(lambda: _serve(chosen.ckpt, chosen.host, chosen.port))
    except KeyboardInterrupt as error:
        return exit_status(error)


def _serve(ckpt: str, host: str, port: int | None) -> None:
    """Serve the page; all files are in a temporary folder, which is removed at the end."""
    if find_spec("gradio") is None:
        raise ModuleNotFoundError("bpr app needs: pip install -e '.[app]'")
    with TemporaryDirectory(prefix="bpr-app-") as folder:
        raise_at_signals()
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        from gradio.themes import Default

        from bpr.app.job import REFINING, WRITING
        from bpr.app.layout import build

        page = build(ckpt, Path(folder))
        legible = Default().set(body_text_color_subdued="*neutral_500")
        away = dict.fromkeys(("share", "run_history", "enable_monitoring", "ssr_mode", "mcp_server", "pwa"), False)
        try:
            page.launch(
                server_name=host,
                server_port=port,
                theme=legible,
                prevent_thread_lock=True,
                quiet=True,
                footer_links=[],
                **away,
            )
        except OSError as error:
            raise SettingError(f"nothing can listen at {host}, port {port}; give another --port or --host") from error
        print(f"{page.local_url} (Ctrl-C ends it)", flush=True)
        try:
            Event().wait()
        finally:
            page.close()
            REFINING.acquire()
            WRITING.acquire()


if __name__ == "__main__":
    sys.exit(main())
