"""One tritonserver and its backend processes, from the start to the end: for `exeunt serve`, and in the container.

    while it runs   the processes and a real inference are looked at (watch.py)
    leave           balancers are told, and everybody is still answered
    stop            every exit controller is asked to drain: it refuses newcomers and finishes what it has
                    all drained: the server is killed, since nothing is left to answer or to save; whoever still
                                 sends over HTTP is told to come again (farewell.py)
                    else:        SIGTERM, then kill; Triton finishes what it can

Triton's own way out unloads models for seconds while it listens, and tells newcomers NOT_FOUND instead of "come again";
and it refuses the next segment of everything in flight. Needs no other package.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from exeunt.errors import ConfigError, ServingError
from exeunt.serving.drain import Drain, drain_all
from exeunt.serving.farewell import Farewell
from exeunt.serving.health import LEAVING, Health
from exeunt.serving.launch import EXIT_TIMEOUT_S
from exeunt.serving.leftovers import remove_leftovers
from exeunt.serving.probe import probe
from exeunt.serving.processes import kill_group, raise_open_files
from exeunt.serving.watch import Watch

SETTLE_S = 0.3  # between the controllers' last answers and the kill: they are still on their way to the clients
TERM_S = EXIT_TIMEOUT_S + 5  # from SIGTERM to SIGKILL, where the drain failed


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """How closely a server is watched.

    Attributes:
        probe_every_s: between two inferences.
        probe_timeout_s: of each call of one.
        probe_failures: in a row, that are too many.
        start_s: time until the first inference must have succeeded; 0 where the server is known to be ready.
    """

    probe_every_s: float
    probe_timeout_s: float
    probe_failures: int
    start_s: float = 0.0


class Supervisor:
    """What starts a tritonserver, watches it, and ends it.

    Args:
        line: command line of the server.
        env: its environment.
        name: prefix of its shared memory.
        http_port: of its HTTP endpoint.
        drains: of its bags, acquired.
        log: file of its output; None for the output of this process.

    Raises:
        ConfigError: the command or the log cannot be opened.

    Attributes:
        pid: of the server; also of its process group and session, so that a signal for this process's group, such as
            Ctrl-C, does not reach it before the drain.
        health: what a balancer is told of it; it follows the watch.
    """

    def __init__(
        self,
        line: list[str],
        env: dict[str, str],
        name: str,
        http_port: int,
        drains: list[Drain],
        log: Path | None = None,
    ) -> None:
        raise_open_files()
        with contextlib.ExitStack() as stack:
            try:
                output = stack.enter_context(log.open("wb")) if log else None
                self._process = subprocess.Popen(
                    line, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as error:
                raise ConfigError(f"{error.filename}: {error.strerror}; is it a file that can be written?") from None
        self.pid = self._process.pid
        self._name = name
        self._http_port = http_port
        self._drains = drains
        self.health = Health()

    def running(self) -> bool:
        """True until the process ends."""
        return self._process.poll() is None

    def ending(self) -> str:
        """How the process ended, in words."""
        code = self._process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def watch(
        self,
        address: str,
        bags: Iterable[str],
        limits: WatchLimits,
        say: Callable[[str], None],
        stop: threading.Event,
    ) -> str:
        """Block until the server is no longer whole, or `stop` is set.

        Args:
            address: "HOST:PORT" of its HTTP endpoint.
            bags: public models that are asked a real inference.
            limits: how closely.
            say: takes lines about what is seen.
            stop: ends the watch.

        Returns:
            what is wrong with the server, for people; "" after `stop`.
        """
        names = list(bags)

        def ask() -> None:
            try:
                for bag in names:
                    probe(address, bag, limits.probe_timeout_s)
            except ServingError as error:
                if watch.ready:  # until then it is still starting
                    self.health.turn_away(str(error))
                raise
            self.health.welcome()

        watch = Watch(
            self.pid,
            ask,
            say,
            limits.probe_every_s,
            limits.probe_failures,
            limits.start_s,
            ready=not limits.start_s,
        )
        problem = watch.until(stop)
        if problem:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)  # what was lost may be the server itself, which then ends
        if problem and not self.running():
            return f"tritonserver ended by itself, {self.ending()} ({problem})"
        return problem

    def leave(self, seconds: float) -> None:
        """Let balancers see that requests should go elsewhere, while everybody is still answered."""
        self.health.turn_away(LEAVING)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def stop(self) -> bool:
        """Drain, then end; see above. Nothing of the server is left afterwards, whatever happens on the way.

        A KeyboardInterrupt during the drain skips the rest of it.

        Returns:
            whether every exit controller said that nothing was in flight any more.
        """
        drained, farewell = False, None
        try:
            if self.running():
                drained = drain_all(self._drains, self.running)
                if self._drains and drained:
                    time.sleep(SETTLE_S)
                    farewell = Farewell(self.pid, self._http_port)
                else:
                    self._process.terminate()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(TERM_S)
        finally:
            self.kill()
            if farewell is not None:
                farewell.say()
        return drained

    def kill(self) -> None:
        """End every process of the server now and remove what it leaves on the host.

        Raises:
            ServingError: processes do not end.
        """
        remaining = kill_group(self.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        remove_leftovers(self._name)
        if remaining:
            raise ServingError(f"processes {remaining} of {self._name} do not end")
