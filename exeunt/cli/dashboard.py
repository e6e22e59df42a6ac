"""`exeunt dashboard`: a running bag in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "dashboard",
        help="show a running server in the browser",
        description="Serve a page on 127.0.0.1 that shows the promise, who leaves where, and load, from the status "
        "file in the server's state_dir. Ctrl-C ends. For many servers and for history: docs/production.md.",
        epilog="Example: exeunt dashboard digits --port 8080",
    )
    parser.add_argument("name", help="name of the bag")
    parser.add_argument(
        "--state-dir", type=Path, help="the server's (default: $EXEUNT_STATE_DIR or ~/.local/state/exeunt)"
    )
    parser.add_argument("--port", type=int, default=0, help="a free one unless given")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        ConfigError: no status of that bag, or the port is taken.
    """
    from exeunt.hosting.state_files import default_state_dir
    from exeunt.hosting.status import find_status
    from exeunt.serving.dashboard import dashboard_server

    state_dir = args.state_dir or default_state_dir()
    find_status(state_dir, args.name)
    with dashboard_server(state_dir, args.name, args.port) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
