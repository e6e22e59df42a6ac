"""The server's container: `python3 -m exeunt.serving.container`, the command of the image.

    docker stop --SIGTERM--> this process, which drains and ends the server as supervisor.py says
    every few seconds        this process --a real inference--> tritonserver; several failures in a row end the
                                          container, and its restart policy starts a fresh one
    balancer --health port-->this process, which says "leaving" for --leave-s seconds before the drain

Triton never restarts a dead backend process, and fails what is in flight on SIGTERM; that is why it does not run as the
container's first process. What only the watch needs is imported once the server starts: until then everybody waits.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from exeunt.errors import ExeuntError, ServingError
from exeunt.hosting.state_files import STATE_DIR_VARIABLE
from exeunt.serving import launch
from exeunt.serving.bags import ServedBag, some_bags
from exeunt.serving.checks.python_backend import refuse_former_backend
from exeunt.serving.checks.response_cache import refuse_response_caches
from exeunt.serving.drain import Drain, hold
from exeunt.serving.health import health_port
from exeunt.serving.own_state import own_subfolder
from exeunt.serving.read_ahead import read_ahead
from exeunt.serving.supervisor import Supervisor, WatchLimits


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; everything has the image's default."""
    parser = argparse.ArgumentParser(
        prog="python3 -m exeunt.serving.container", description="The server's container: run, watch, drain, stop."
    )
    add = parser.add_argument
    add("--repository", type=Path, default=Path("/models/repository"), help="model repository, may be read-only")
    add("--state-dir", type=Path, default=Path("/state"), help="folder of learnt state and drain files, writable")
    add("--own-state", action="store_true", help="take a free subfolder of it: several servers share one volume")
    add("--tritonserver", type=Path, default=Path("/opt/tritonserver/bin/tritonserver"), help="the server")
    add("--backend-directory", type=Path, default=Path("/opt/tritonserver/backends"), help="its backends and ours")
    add("--address", default="0.0.0.0", help="where to listen; a container's ports are published one by one")
    add("--http-port", type=int, default=8000)
    add("--grpc-port", type=int, default=8001)
    add("--metrics-port", type=int, default=8002)
    add("--health-port", type=int, default=0, help="answers 200 while requests are welcome, for a balancer; 0: none")
    add("--leave-s", type=float, default=0.0, help="seconds between telling the balancer and the drain")
    add("--gpu-metrics", choices=("true", "false"), default="true", help="false on a host without GPUs")
    add("--shm-mb", type=int, default=16, help="first size of each backend process's shared memory; it grows")
    add(
        "--rate-slots", type=int, default=0, help="segments that run at once, early ones first (export --rank-segments)"
    )
    add("--start-s", type=float, default=600.0, help="seconds the models may take to load (TensorRT builds engines)")
    add("--probe-every-s", type=float, default=10.0, help="seconds between two inferences of the watchdog")
    add("--probe-timeout-s", type=float, default=15.0, help="seconds one of them may take")
    add("--probe-failures", type=int, default=3, help="failures in a row that end the container")
    add("triton_options", nargs="*", help="after --: further options of tritonserver, such as --log-verbose=1")
    return parser.parse_args(argv)


def command(args: argparse.Namespace, bags: list[ServedBag], name: str) -> list[str]:
    """Command line of tritonserver."""
    line = launch.command(
        args.tritonserver,
        name=name,
        repository=args.repository,
        backends=args.backend_directory,
        ports=launch.Ports(args.http_port, args.grpc_port, args.metrics_port),
        max_tickets=max(bag.settings.max_tickets for bag in bags),
        rate_slots=args.rate_slots,
        address=args.address,
        also_shut="model-repository",  # nobody needs it from outside a container whose models never change
    )
    line += [
        "--model-control-mode=none",  # a read-only volume changes by a restart
        "--exit-on-error=true",  # half a bag is no bag
        "--log-format=ISO8601",
        f"--allow-gpu-metrics={args.gpu_metrics}",
        f"--backend-config=python,shm-default-byte-size={args.shm_mb * 2**20}",
    ]
    return line + args.triton_options


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Start tritonserver, watch it, and stop it in order on SIGTERM or SIGINT.

    Returns:
        0 after an orderly stop; 70 if the server ended by itself, was never ready, or no longer answered.

    Raises:
        ConfigError: the repository, the state folder or the Python backend cannot be used.
    """
    refuse_former_backend(args.backend_directory)
    read_ahead(args.repository)
    bags = some_bags(args.repository)
    refuse_response_caches(args.repository)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    name = f"exeunt-{os.urandom(4).hex()}"
    limits = WatchLimits(args.probe_every_s, args.probe_timeout_s, args.probe_failures, args.start_s)
    host = launch.HOST if args.address == "0.0.0.0" else args.address
    with ExitStack() as stack:
        if args.own_state:
            args.state_dir = own_subfolder(args.state_dir, stack)
            say(f"state: {args.state_dir}")
        drains = [Drain(args.state_dir, bag.manifest.content_hash, bag.settings.drain_s) for bag in bags]
        hold(drains, stack)
        # the controllers take their state_dir from the environment, whatever the manifest says
        env = os.environ | {STATE_DIR_VARIABLE: str(args.state_dir)}
        server = Supervisor(command(args, bags, name), env, name, args.http_port, drains)
        stack.callback(server.kill)
        stack.enter_context(health_port(server.health, args.address, args.health_port))
        names = [bag.manifest.bag for bag in bags]
        if problem := server.watch(f"{host}:{args.http_port}", names, limits, say, stop):
            say(problem)
            return ServingError.exit_code
        if args.leave_s > 0:
            say(f"leaving: requests go elsewhere within {args.leave_s:g} s")
            server.leave(args.leave_s)
        say("draining")
        say("drained" if server.stop() else "not drained in time; what is left is refused")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the container; see `options`."""

    def say(line: str) -> None:
        print(f"exeunt: {line}", file=sys.stderr, flush=True)

    try:
        return run(options(argv), say)
    except ExeuntError as error:
        say(str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
