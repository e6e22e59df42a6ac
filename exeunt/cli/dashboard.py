"""`exeunt dashboard`: show a running server in the browser.

Serve a page on 127.0.0.1 that shows the promise, who leaves where, and load, from the status file in the server's
state_dir. Ctrl-C ends. For many servers and for history: docs/production.md.

Example: exeunt dashboard digits --port 8080
"""

from __future__ import annotations

import argparse

from exeunt.cli.arguments import add_running_bag, state_dir_of


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_running_bag(parser)
    parser.add_argument("--port", type=int, default=0, help="a free one unless given")


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        ConfigError: no status of that bag, or the port is taken.
    """
    from exeunt.hosting.status import find_status
    from exeunt.serving.dashboard import dashboard_server

    state_dir = state_dir_of(args)
    find_status(state_dir, args.name)
    with dashboard_server(state_dir, args.name, args.port) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
