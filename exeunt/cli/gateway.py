"""`exeunt gateway`: let callers reach a server's public models, and nothing else.

Stand in front of a running server and pass on NAME and NAME_stream of the repository's bags, with health, metadata and
statistics; refuse internal models, and what operators use. Calls that the server cannot begin yet wait here, bounded,
and leave when their callers do. Ctrl-C or SIGTERM answers everybody who was let in, then stops.

Example: exeunt gateway model_repository --to-http 127.0.0.1:8000 --to-grpc 127.0.0.1:8001 --http-port 8080
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from exeunt.gateway.life import Listening


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("repository", type=Path, help="folder that the server serves; its bags say what is public")
    for kind, port in (("http", 8000), ("grpc", 8001)):
        where = f"127.0.0.1:{port}"
        parser.add_argument(
            f"--to-{kind}", default=where, metavar="HOST:PORT", help=f'the server\'s port ({where}); "" offers none'
        )
        parser.add_argument(f"--{kind}-port", type=int, default=0, metavar="PORT", help="a free one unless given")
    parser.add_argument("--address", default="127.0.0.1", help="interface to listen on (127.0.0.1)")
    parser.add_argument("--full", action="store_true", help="NAME_full, the plain ensemble, is public too")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--service-class", metavar="NAME", help="every request is of this class of service")
    classes.add_argument(
        "--class-header",
        metavar="HEADER",
        help="this header says the class of service, not the caller",
    )
    parser.add_argument(
        "--max-outstanding",
        type=int,
        default=0,
        metavar="ROWS",
        help="of a bag, with the server at once (two full batches, or two for each of its tickets)",
    )
    parser.add_argument("--max-body-mb", type=int, default=64, metavar="MB", help="bound of a request (64)")
    parser.add_argument("--max-json-mb", type=int, default=8, metavar="MB", help="bound of the JSON in it (8)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line: ready, then stopped")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, then drain.

    Raises:
        ConfigError: no bag in the repository, a value that is not allowed, or a port cannot be had.
    """
    import asyncio

    from exeunt.gateway.life import GatewaySettings, run_gateway
    from exeunt.gateway.parameters import ClassRule

    for option, least in (("max_outstanding", 0), ("max_body_mb", 1), ("max_json_mb", 1)):
        if getattr(args, option) < least:
            raise ConfigError(f"--{option.replace('_', '-')} {getattr(args, option)}; allowed: from {least}")
    settings = GatewaySettings(
        repository=args.repository,
        to_http=args.to_http,
        to_grpc=args.to_grpc,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        address=args.address,
        full=args.full,
        class_rule=ClassRule(args.service_class, args.class_header),
        max_outstanding=args.max_outstanding,
        max_body_mb=args.max_body_mb,
        max_json_mb=args.max_json_mb,
    )
    drained = asyncio.run(run_gateway(settings, lambda where: _say_ready(where, args.json)))
    if args.json:
        print(json.dumps({"status": "stopped", "drained": drained}), flush=True)
    else:
        print("drained and stopped" if drained else "stopped without a drain")
    return 0


def _say_ready(where: Listening, as_json: bool) -> None:
    if as_json:
        table = {"status": "ready", "http": where.http, "grpc": where.grpc, "models": where.models}
        print(json.dumps(table), flush=True)
        return
    print(
        f"ready\n  models   {', '.join(where.models)}\n  HTTP     {where.http or '-'}\n  gRPC     {where.grpc or '-'}"
    )
    print("Ctrl-C drains and stops.", flush=True)
