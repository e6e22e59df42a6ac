"""The Triton server of the pip wheel as a context: started on loopback, drained, stopped, nothing left behind."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exeunt.errors import ServingError
from exeunt.hosting.state_files import STATE_DIR_VARIABLE
from exeunt.serving.backends import assemble, environment, find_wheel
from exeunt.serving.bags import ServedBag, named_state_dir, served_bags
from exeunt.serving.checks.response_cache import refuse_response_caches
from exeunt.serving.drain import Drain, hold
from exeunt.serving.launch import Ports, RunningServer, check_shared_memory, choose_ports, command
from exeunt.serving.probe import call
from exeunt.serving.processes import Reaper, tied_to_us
from exeunt.serving.read_ahead import read_ahead
from exeunt.serving.repository import model_folders
from exeunt.serving.server_log import ABORTED, error_lines
from exeunt.serving.supervisor import Supervisor, WatchLimits

START_DEADLINE_S = 180.0  # a bag of three members is twenty stubs, each of which imports onnxruntime
_TRIES = 3  # of a start that chance may spoil
# somebody else took a free port before Triton listened on it; a busy host kept a backend process from running
_CHANCE = ("already in use", ABORTED)
# who hangs is found in half a minute
WATCH_LIMITS = WatchLimits(probe_every_s=5.0, probe_timeout_s=10.0, probe_failures=2)


class Server(RunningServer):
    """A tritonserver that `serve` started; `models` are those that are ready, sorted, once it is ready.

    Attributes:
        pid: process id; also the id of its process group and session.
    """

    def __init__(
        self, supervisor: Supervisor, name: str, ports: Ports, log: Path, state_dir: Path, folder: Path
    ) -> None:
        super().__init__(name, ports, log, state_dir)
        self.pid = supervisor.pid
        self._supervisor = supervisor
        self._reaper = Reaper(supervisor.pid, name, folder)

    def running(self) -> bool:
        """True until the process ends."""
        return self._supervisor.running()

    def watch(self, bags: list[str], say: Callable[[str], None]) -> None:
        """Block until the server is no longer whole.

        Args:
            bags: public models that are asked a real inference every few seconds.
            say: takes lines about what is seen.

        Raises:
            ServingError: always, with what is wrong and the log's error lines; a server is not meant to end by itself.
        """
        raise self.failure(self._supervisor.watch(self.http_url, bags, WATCH_LIMITS, say, threading.Event()))

    def last_lines(self) -> list[str]:
        """The log's error lines."""
        return error_lines(self.log)

    def stop(self) -> None:
        """Drain, then end; see `Supervisor.stop`."""
        try:
            self.drained = self._supervisor.stop()
        finally:
            self._reaper.dismiss()

    def kill(self) -> None:
        """End every process of the server now and remove its shared memory."""
        try:
            self._supervisor.kill()
        finally:
            self._reaper.dismiss()

    def is_ready(self) -> bool:
        """True if this very server, by its name, says that all its models are ready."""
        try:
            call(self.http_url, "GET", "/v2/health/ready")
            return bool(json.loads(call(self.http_url, "GET", "/v2")[1])["name"] == self.name)
        except ServingError:
            return False

    def await_ready(self, deadline_s: float) -> None:
        """Block until the server is ready.

        Raises:
            ServingError: it ended, or was not ready in time.
        """
        end = time.monotonic() + deadline_s
        while not self.is_ready():
            if not self.running():
                raise self.failure(f"tritonserver did not start, {self._supervisor.ending()}")
            if time.monotonic() > end:
                raise self.failure(f"tritonserver was not ready after {deadline_s:g} s")
            time.sleep(0.05)
        index = json.loads(call(self.http_url, "POST", "/v2/repository/index")[1])
        self.models = sorted(model["name"] for model in index if model.get("state") == "READY")


@contextmanager
def serve(
    repository: Path,
    *,
    http_port: int | None = None,
    grpc_port: int | None = None,
    metrics_port: int | None = None,
    log: Path | None = None,
    state_dir: Path | None = None,
    deadline_s: float = START_DEADLINE_S,
    rate_slots: int = 0,
) -> Iterator[Server]:
    """A real tritonserver on the loopback interface, ready, until the block ends.

    Nothing is written to the repository. The server runs in a session of its own: Ctrl-C in the terminal reaches the
    caller alone, who drains it by leaving the block. If the caller is killed, Triton gets SIGTERM (so the thread that
    enters the block must live as long as the block).

    Args:
        repository: folder of Triton models.
        http_port: port, or None for a free one; likewise `grpc_port` and `metrics_port`.
        grpc_port: see `http_port`.
        metrics_port: see `http_port`.
        log: file of the server's output; None for one that goes when the block ends, unless the server failed.
        state_dir: folder of learnt state; None for the one that the bags' settings name, else for one that goes too.
        deadline_s: how long the models may take to load.
        rate_slots: ranked segments (`exeunt export --rank-segments`) that run at once, early ones first; 0 = any.

    Raises:
        ConfigError: repository, wheel, ports or state_dir are not usable; says which and what to do.
        ServingError: the server did not start, with the log's error lines first.
    """
    read_ahead(repository)
    check_shared_memory(len(model_folders(repository)))
    bags = served_bags(repository)
    refuse_response_caches(repository)
    env = environment(wheel := find_wheel())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="exeunt-", ignore_cleanup_errors=True)))
        state = state_dir or named_state_dir(bags) or folder / "state"
        drains = [_drain(bag, state) for bag in bags]
        hold(drains, stack)
        env[STATE_DIR_VARIABLE] = str(state.resolve())
        options = {"binary": wheel.binary, "repository": repository.resolve(), "rate_slots": rate_slots}
        options["backends"] = assemble(folder / "backends", wheel)
        options["max_tickets"] = max((bag.settings.max_tickets for bag in bags), default=1)
        output = log or folder / "server.log"
        try:
            server = _start_ready(
                options, (http_port, grpc_port, metrics_port), env, output, drains, deadline_s, folder
            )
            try:
                yield server
            finally:
                server.stop()
        except ServingError as error:
            if log is not None or str(output) not in str(error):
                raise
            raise _with_log_kept(error, output) from None


def _start_ready(
    options: dict[str, Any],
    fixed_ports: tuple[int | None, int | None, int | None],
    env: dict[str, str],
    log: Path,
    drains: list[Drain],
    deadline_s: float,
    folder: Path,
) -> Server:
    """Start a server and wait until it is ready; again where chance spoilt it, at most _TRIES times in all."""
    for tries_left in reversed(range(_TRIES)):
        ports = choose_ports(*fixed_ports)
        name = f"exeunt-{os.getpid()}-{secrets.token_hex(4)}"
        line = tied_to_us() + command(name=name, ports=ports, **options)
        supervisor = Supervisor(line, env, name, ports.http, drains, log)
        server = Server(supervisor, name, ports, log, Path(env[STATE_DIR_VARIABLE]), folder)
        try:
            server.await_ready(deadline_s)
            return server
        except BaseException as error:
            server.kill()
            reason = next((reason for reason in _CHANCE if reason in str(error)), None)
            if reason is None or not tries_left or not isinstance(error, ServingError):
                raise
            logging.getLogger(__name__).warning("the start failed (%s), and is made again", reason)
    raise AssertionError("the last try returns or raises")


def _with_log_kept(error: ServingError, output: Path) -> ServingError:
    """Move a log that would go with its folder to a place of its own, and name that one."""
    handle, path = tempfile.mkstemp(prefix="exeunt-server-", suffix=".log")
    os.close(handle)
    shutil.copyfile(output, path)
    return ServingError(str(error).replace(str(output), path))


def _drain(bag: ServedBag, state_dir: Path) -> Drain:
    folder = Path(bag.settings.state_dir) if bag.pinned else state_dir
    return Drain(folder, bag.manifest.content_hash, bag.settings.drain_s)
