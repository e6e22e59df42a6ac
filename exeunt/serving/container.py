"""The server's container: `python3 -m exeunt.serving.container`, the command of the image.

    docker stop --SIGTERM--> this process --drain files--> the exit controllers, which finish what they have
                                          --SIGTERM-->     tritonserver, which then has nothing of ours in flight
    every few seconds        this process --a real inference--> tritonserver; several failures in a row end the
                                          container, and its restart policy starts a fresh one

Triton itself refuses the next segment of everything in flight on SIGTERM, and never restarts a dead backend process;
that is why it does not run as the container's first process. Needs numpy only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from exeunt.errors import ExeuntError, ServingError
from exeunt.hosting.state_files import STATE_DIR_VARIABLE
from exeunt.serving.bags import ServedBag, refuse_response_caches, some_bags
from exeunt.serving.drain import Drain, drain_all, hold
from exeunt.serving.launch import EXIT_TIMEOUT_S, SPARE_THREADS, rate_flags, shut_flags
from exeunt.serving.probe import probe
from exeunt.serving.processes import kill_group
from exeunt.serving.watch import Watch


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; everything has the image's default."""
    parser = argparse.ArgumentParser(
        prog="python3 -m exeunt.serving.container", description="The server's container: run, watch, drain, stop."
    )
    add = parser.add_argument
    add("--repository", type=Path, default=Path("/models/repository"), help="model repository, may be read-only")
    add("--state-dir", type=Path, default=Path("/state"), help="folder of learnt state and drain files, writable")
    add("--tritonserver", type=Path, default=Path("/opt/tritonserver/bin/tritonserver"), help="the server")
    add("--backend-directory", type=Path, default=Path("/opt/tritonserver/backends"), help="its backends and ours")
    add("--address", default="0.0.0.0", help="where to listen; a container's ports are published one by one")
    add("--http-port", type=int, default=8000)
    add("--grpc-port", type=int, default=8001)
    add("--metrics-port", type=int, default=8002)
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
    """Command line of tritonserver; every flag that matters is explicit.

    Args:
        args: what `options` returns.
        bags: of the repository.
        name: prefix of shared memory.
    """
    tickets = max(bag.settings.max_tickets for bag in bags)
    flags = {
        "model-repository": args.repository,
        "backend-directory": args.backend_directory,
        "model-control-mode": "none",  # a read-only volume changes by a restart
        "strict-readiness": "true",
        "exit-on-error": "true",  # half a bag is no bag
        "log-format": "ISO8601",
        "http-address": args.address,
        "grpc-address": args.address,
        "metrics-address": args.address,
        "http-port": args.http_port,
        "grpc-port": args.grpc_port,
        "metrics-port": args.metrics_port,
        "allow-gpu-metrics": args.gpu_metrics,
        "exit-timeout-secs": EXIT_TIMEOUT_S,
    }
    # nobody needs these from outside a container whose models never change
    flags |= shut_flags(secrets.token_hex(16), "model-repository") | rate_flags(args.rate_slots)
    python = {
        "shm-default-byte-size": args.shm_mb * 2**20,
        "shm-region-prefix-name": name,
        # each BLS call holds a thread of this pool, and responses are sent from the same one
        "thread-pool-size": tickets + SPARE_THREADS,
        "stub-timeout-seconds": 120,
    }
    line = [str(args.tritonserver), "--disable-auto-complete-config"]
    line += [f"--{key}={value}" for key, value in flags.items()]
    return [*line, *(f"--backend-config=python,{key}={value}" for key, value in python.items()), *args.triton_options]


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Start tritonserver, watch it, and stop it in order on SIGTERM or SIGINT.

    Returns:
        0 after an orderly stop; 70 if the server ended by itself, was never ready, or no longer answered.

    Raises:
        ConfigError: the repository or the state folder cannot be used.
    """
    bags = some_bags(args.repository)
    refuse_response_caches(args.repository)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    name = f"exeunt-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        drains = [Drain(args.state_dir, bag.manifest.content_hash, bag.settings.drain_s) for bag in bags]
        hold(drains, stack)
        # the controllers take their state_dir from the environment, whatever the manifest says
        env = os.environ | {STATE_DIR_VARIABLE: str(args.state_dir)}
        # a session of its own: a signal for the group, such as Ctrl-C, must not reach Triton before the drain
        process = subprocess.Popen(command(args, bags, name), env=env, start_new_session=True)
        stack.callback(_remove, process, name)
        code = _watch(args, bags, process, stop, say)
        if process.poll() is None and code == 0:
            say("draining")
            drained = drain_all(drains, lambda: process.poll() is None)
            say("drained" if drained else "not drained in time; what is left is refused")
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_TIMEOUT_S + 5)
    return code


def _watch(
    args: argparse.Namespace,
    bags: list[ServedBag],
    process: subprocess.Popen[bytes],
    stop: threading.Event,
    say: Callable[[str], None],
) -> int:
    """Block until the server is to stop (0) or has failed (70)."""
    host = "127.0.0.1" if args.address == "0.0.0.0" else args.address

    def ask() -> None:
        for bag in bags:
            probe(f"{host}:{args.http_port}", bag.manifest.bag, args.probe_timeout_s)

    watch = Watch(process.pid, ask, say, args.probe_every_s, args.probe_failures, args.start_s)
    problem = watch.until(stop)
    if not problem:
        return 0
    if process.poll() is not None:
        problem = f"tritonserver ended by itself, status {process.returncode} ({problem})"
    say(problem)
    return ServingError.exit_code


def _remove(process: subprocess.Popen[bytes], name: str) -> None:
    kill_group(process.pid)
    process.poll()
    for region in Path("/dev/shm").glob(f"*{name}*"):
        region.unlink(missing_ok=True)


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
