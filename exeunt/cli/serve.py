"""`exeunt serve`: serve a model repository on Triton.

Start the Triton server of the pip wheel on 127.0.0.1 over a model repository, show its models and addresses, and run
until Ctrl-C or SIGTERM; then drain: answer what is in flight, refuse newcomers, stop.

Example: exeunt serve model_repository --http-port 8000 --grpc-port 8001 --metrics-port 8002
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt.cli.stop_signals import stop_on_signals
from exeunt.errors import ServingError

if TYPE_CHECKING:
    from exeunt.serving.pip_server import Server

RUNTIMES = ("pip", "docker")
MOST_RESTARTS, RESTARTS_WITHIN_S = 5, 600.0  # more often than that, something is wrong that a restart does not cure


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("repository", type=Path, help="folder that `exeunt export` wrote")
    parser.add_argument("--runtime", choices=RUNTIMES, default="pip", help="where the server runs (default: pip)")
    for kind in ("http", "grpc", "metrics"):
        parser.add_argument(f"--{kind}-port", type=int, metavar="PORT", help="a free one unless given")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the server's output here")
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="FOLDER",
        help="learnt state, status and control files (default: $EXEUNT_STATE_DIR or ~/.local/state/exeunt)",
    )
    parser.add_argument("--deadline-s", type=float, default=180.0, metavar="S", help="time to load the models (180)")
    parser.add_argument(
        "--rate-slots",
        type=slots,
        default=0,
        metavar="N",
        help="N segments at once, early ones first, of a bag exported with --rank-segments (0: any number)",
    )
    parser.add_argument("--no-restart", action="store_true", help="end, instead of starting again, if a process dies")
    parser.add_argument("--json", action="store_true", help="one JSON object per line: ready, then stopped")


def slots(text: str) -> int:
    """A number of slots from 0; ArgumentTypeError for anything else."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a whole number from 0")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, then drain.

    Raises:
        ConfigError: see `exeunt.serving.pip_server.serve`; also for the docker runtime.
        ServingError: the server did not start, or ended by itself.
    """
    stop_on_signals()
    if not args.json:
        print(f"starting Triton over {args.repository} ...", file=sys.stderr, flush=True)
    failures: list[float] = []
    while True:
        try:
            return _serve_once(args)
        except ServingError as error:
            now_s = time.monotonic()
            failures = [when_s for when_s in failures if now_s - when_s < RESTARTS_WITHIN_S] + [now_s]
            if not isinstance(error, _LostServerError) or args.no_restart or len(failures) > MOST_RESTARTS:
                raise
            _say(f"{error}\nstarting again ({len(failures)} of {MOST_RESTARTS} in {RESTARTS_WITHIN_S:g} s)")


class _LostServerError(ServingError):
    """A server that was ready is no longer whole."""


def _serve_once(args: argparse.Namespace) -> int:
    """One life of the server, until a signal or until it is no longer whole (_LostServerError)."""
    serve, state_dir = _runtime(args)
    server = None
    try:
        with serve(
            args.repository,
            http_port=args.http_port,
            grpc_port=args.grpc_port,
            metrics_port=args.metrics_port,
            log=args.log,
            state_dir=state_dir,
            deadline_s=args.deadline_s,
            rate_slots=args.rate_slots,
        ) as server:
            _say_ready(server, args)
            # a restart must be found where its clients look for it
            args.http_port, args.grpc_port, args.metrics_port = server.ports
            try:
                server.watch(_public(args.repository), _say)
            except ServingError as error:
                server.kill()  # what is left of it can answer nobody
                raise _LostServerError(str(error)) from None
    except KeyboardInterrupt:
        if server is None:
            raise  # during the start: nothing to drain, and nothing was served
    _say_stopped(server, args)
    return 0


def _say(line: str) -> None:
    print(f"exeunt: {line}", file=sys.stderr, flush=True)


def _public(repository: Path) -> list[str]:
    from exeunt.serving.bags import served_bags

    return [bag.manifest.bag for bag in served_bags(repository)]


def _runtime(args: argparse.Namespace) -> tuple[Callable[..., AbstractContextManager[Any]], Path | None]:
    """What serves, and the state folder it is given."""
    if args.runtime == "docker":
        from exeunt.hosting.state_files import default_state_dir
        from exeunt.serving.docker_runtime import serve_docker

        return serve_docker, args.state_dir or default_state_dir()
    from exeunt.serving.pip_server import serve

    return serve, _state_dir(args.state_dir, args.repository)


def _state_dir(option: Path | None, repository: Path) -> Path | None:
    """The folder of --state-dir; None where the bags name one; else the user's."""
    from exeunt.hosting.state_files import default_state_dir
    from exeunt.serving.bags import named_state_dir, served_bags

    if option is not None or named_state_dir(served_bags(repository)) is not None:
        return option
    return default_state_dir()


def _say_ready(server: Server, args: argparse.Namespace) -> None:
    if args.json:
        table = {
            "status": "ready",
            "http": server.http_url,
            "grpc": server.grpc_url,
            "metrics": server.metrics_url,
            "models": server.models,
            "pid": server.pid,
            "log": str(server.log),
            "state_dir": str(server.state_dir),
        }
        print(json.dumps(table), flush=True)
        return
    public = _public(args.repository)
    print("ready")
    for name in public:
        print(f"  bag      {name}  (ask this model; the {len(server.models)} ready ones: {', '.join(server.models)})")
    if not public:
        print(f"  models   {', '.join(server.models)}")
    print(f"  HTTP     {server.http_url}")
    print(f"  gRPC     {server.grpc_url}")
    print(f"  metrics  {server.metrics_url}")
    print(f"  state    {server.state_dir}")
    print(f"  log      {server.log}")
    print("Ctrl-C drains and stops.", flush=True)


def _say_stopped(server: Server, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps({"status": "stopped", "drained": server.drained}), flush=True)
    else:
        print("drained and stopped" if server.drained else "stopped without a drain")
