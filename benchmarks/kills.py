"""What clients see when a process of a serving machine is killed, or stopped for five seconds, under load.

    python -m benchmarks.kills [--times 20]

starts `exeunt serve` over a small bag in both modes, asks it from four callers all the time, and does it so many times
to each kind of process. Writes benchmarks/results/kills.md and .json after each, and goes on where an earlier run was
ended; without those files it begins anew. Twenty times take about an hour and a half.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient import grpc

from benchmarks.serving.machine import machine
from exeunt.serving.processes import members
from exeunt.tables import markdown_table
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag

RESULTS = Path(__file__).parent / "results"
ROWS = noise_rows(2, 5, 16)
ANSWERED_WITHIN_S, WHOLE_WITHIN_S = 15.0, 60.0
PAUSE_S = 5.0
MODES, ACTIONS = ("ensemble", "engine"), ("killed", "paused")
VICTIMS = {  # part of the command line -> what the message must say of it
    "tiny_exit/": "backend process of model tiny_exit",
    "tiny_vote/": "backend process of model tiny_vote",
    "/tiny_a": "backend process of model tiny_a",  # a segment; in engine mode a member of the plain ensemble
    "/bin/tritonserver": "tritonserver",
}


class Serving:
    """`exeunt serve` as a process, as a person starts it.

    Args:
        repository: with the bag `tiny`.
        folder: for its state, log and errors.
    """

    def __init__(self, repository: Path, folder: Path) -> None:
        line = [sys.executable, "-m", "exeunt.cli.main", "serve", str(repository), "--json"]
        line += ["--state-dir", str(folder / "state"), "--log", str(folder / "log")]
        self._errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.ready = self.next_line()

    def next_line(self) -> dict[str, Any]:
        """What it says next: that it is ready, with process id and ports."""
        assert self.process.stdout is not None
        line: dict[str, Any] = json.loads(self.process.stdout.readline())
        return line

    def pids(self, command: str) -> list[int]:
        """Processes of the server whose command line holds a text."""
        found = []
        for pid in members(self.ready["pid"]):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
            if command in words.split("--id=")[0]:
                found.append(pid)
        return found

    def region_name(self) -> str:
        """What its shared memory is called."""
        words = Path(f"/proc/{self.ready['pid']}/cmdline").read_text().split("\0")
        return next(word.split("=")[1] for word in words if word.startswith("--id="))

    def errors(self) -> str:
        """What it has said on standard error."""
        self._errors.seek(0)
        return self._errors.read()

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=120)
        self._errors.close()


class Load:
    """Callers who ask all the time.

    Attributes:
        waits_s: how long each call waited for an answer or an error.
        wrong: answers that were not the full vote.
        last_good_s: when the last good answer came, monotonic.
    """

    def __init__(self, url: str, callers: int = 4) -> None:
        self.waits_s: list[float] = []
        self.wrong: list[object] = []
        self.last_good_s = 0.0
        self._stop = threading.Event()
        self._url = url
        self._expected: object = None
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def _call(self) -> None:
        while not self._stop.is_set():
            start_s = time.monotonic()
            label = None
            try:
                label = ask(self._url)
            except grpc.InferenceServerException:
                time.sleep(0.05)
            self.waits_s.append(time.monotonic() - start_s)
            if label is not None:
                if label != self._expected:
                    self.wrong.append(label)
                self.last_good_s = time.monotonic()

    def __enter__(self) -> Load:
        self._expected = ask(self._url)
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.waits_s) > 20, 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def ask(url: str) -> object:
    """The full votes' labels of ROWS."""
    with grpc.InferenceServerClient(url) as client:
        image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32")
        image.set_data_from_numpy(ROWS)
        result = client.infer("tiny", [image], parameters={"exit": "never"}, client_timeout=40)
        return np.asarray(result.as_numpy("LABEL")).ravel().tolist()


def until(happened: Callable[[], bool], within_s: float) -> None:
    """Wait.

    Raises:
        TimeoutError: it has not happened within so many seconds.
    """
    end_s = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not within {within_s:g} s")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Trial:
    """One process, once.

    Attributes:
        mode: of the bag.
        victim: part of its command line.
        action: "killed" or "paused".
        longest_wait_s: of any caller, for an answer or an error.
        whole_after_s: until good answers came again; infinity: not within WHOLE_WITHIN_S.
        wrong: answers that were not the full vote.
        named: whether the message named the victim; a pause needs none.
        left_behind: processes and regions of shared memory that were there after the end.
    """

    mode: str
    victim: str
    action: str
    longest_wait_s: float
    whole_after_s: float
    wrong: int
    named: bool
    left_behind: int

    @property
    def good(self) -> bool:
        """Whether all of it is as promised."""
        in_time = self.longest_wait_s < ANSWERED_WITHIN_S and self.whole_after_s < WHOLE_WITHIN_S
        return in_time and self.named and not self.wrong and not self.left_behind


def trial(repository: Path, mode: str, victim: str, action: str) -> Trial:
    """Start a server, do it, look, stop."""
    with tempfile.TemporaryDirectory() as folder, Serving(repository, Path(folder)) as serving:
        with Load(serving.ready["grpc"]) as load:
            whole_after_s = _whole_after_s(strike(serving.pids(victim), action), load)
        longest_s, wrong = max(load.waits_s), len(load.wrong)  # every call has returned: one that hung counts
        named = action == "paused" or VICTIMS[victim] in serving.errors()
        serving.process.send_signal(signal.SIGTERM)
        serving.process.wait(timeout=120)
        left = _left_behind(f"exeunt-{serving.process.pid}-")
    return Trial(mode, victim, action, longest_s, whole_after_s, wrong, named, left)


def strike(pids: Sequence[int], action: str) -> float:
    """Kill processes, or pause them and wait until they go on; monotonic seconds of the strike."""
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL if action == "killed" else signal.SIGSTOP)
    struck_s = time.monotonic()
    if action == "paused":
        time.sleep(PAUSE_S)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    return struck_s


def _whole_after_s(hit_s: float, load: Load) -> float:
    """Seconds from a strike until good answers came again."""
    try:
        until(lambda: load.last_good_s > hit_s + 1.0 and time.monotonic() - load.last_good_s < 1.0, WHOLE_WITHIN_S)
    except TimeoutError:
        return float("inf")
    time.sleep(2.0)  # whoever still waits must show
    return load.last_good_s - hit_s - 2.0


def _left_behind(name: str) -> int:
    """Processes and regions of shared memory whose names hold that of a server that has ended."""
    left = len(list(Path("/dev/shm").glob(f"*{name}*")))
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            left += name in command.read_text(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
    return left


def markdown(trials: Sequence[Trial], about: dict[str, Any]) -> str:
    """The table, with the machine."""
    head = (
        "mode",
        "process",
        "",
        "times",
        "longest wait",
        "good answers again after",
        "wrong",
        "left behind",
        "as promised",
    )
    lines = []
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for one in trials:
        groups.setdefault((one.mode, one.victim, one.action), []).append(one)
    for (mode, victim, action), same in groups.items():
        longest, whole = max(one.longest_wait_s for one in same), max(one.whole_after_s for one in same)
        wrong, left = sum(one.wrong for one in same), sum(one.left_behind for one in same)
        good = sum(one.good for one in same)
        who = (mode, victim.strip("/").removeprefix("bin/"), action, str(len(same)))
        lines.append((*who, f"{longest:.1f} s", f"{whole:.1f} s", str(wrong), str(left), f"{good} of {len(same)}"))
    where = ", ".join(f"{key} {value}" for key, value in about.items())
    return "\n".join(["# Killed and paused processes", "", markdown_table(head, lines), "", f"Machine: {where}.", ""])


def last_trials() -> list[Trial]:
    """What earlier runs kept; nothing where none did."""
    file = RESULTS / "kills.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"trials": []}
    return [Trial(**one) for one in kept["trials"]]


def left_to_do(trials: Sequence[Trial], times: int) -> list[tuple[str, str, str]]:
    """(mode, victim, action) of every trial that is left, so that all kinds are tried about equally often at any time.

    Args:
        trials: that have been made.
        times: how often each kind is to be tried in all.
    """
    kinds = list(product(MODES, VICTIMS, ACTIONS))
    made = Counter((one.mode, one.victim, one.action) for one in trials)
    return [kind for number in range(times) for kind in kinds if made[kind] <= number]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is left of it, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="each process and action, earlier runs included (20)")
    args = parser.parse_args(argv)
    about, trials = machine(), last_trials()
    with tempfile.TemporaryDirectory() as folder:
        repositories = {}
        for mode in MODES:
            own = Path(folder) / mode
            own.mkdir()
            bag = tiny_bag(own, mode=mode, members=2, exit_table='tuner = "static"')
            repositories[mode] = export_bag(bag, own / "repository").output
        left = left_to_do(trials, args.times)
        for number, (mode, victim, action) in enumerate(left, start=1):
            trials.append(trial(repositories[mode], mode, victim, action))
            print(f"{number} of {len(left)}: {trials[-1]}", flush=True)
            kept = {"machine": about, "trials": [asdict(one) for one in trials]}
            RESULTS.joinpath("kills.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            RESULTS.joinpath("kills.md").write_text(markdown(trials, about), encoding="utf-8")
    print(markdown(trials, about))
    return 0 if all(one.good for one in trials) else 1


if __name__ == "__main__":
    raise SystemExit(main())
