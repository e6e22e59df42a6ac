"""What clients see when a process of a serving machine is killed, or stopped for five seconds, under load.

    python -m benchmarks.kills [--times 20] [--again ensemble tiny_exit paused]

starts `exeunt serve` over a small bag in both modes, asks it from four callers all the time, every call with rows of
its own, and does it so many times to each kind of process. Callers ask the bag; the plain ensemble, where only that
needs the process. Writes benchmarks/results/kills.md and .json after each, and goes on where an earlier run was ended;
without those files it begins anew. Twenty times take about an hour and a half.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.serving.machine import machine
from benchmarks.stress.served import NAME, Load, Serving, until
from exeunt.contract import full_model
from exeunt.tables import markdown_table
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag

RESULTS = Path(__file__).parent / "results"
ANSWERED_WITHIN_S, WHOLE_WITHIN_S = 15.0, 60.0
PAUSE_S = 5.0
MODES, ACTIONS = ("ensemble", "engine"), ("killed", "paused")
VICTIMS = {  # part of the command line -> what the message must say of it
    "tiny_exit/": "backend process of model tiny_exit",
    "tiny_vote/": "backend process of model tiny_vote",
    "/tiny_a": "backend process of model tiny_a",  # a segment; in engine mode a member of the plain ensemble
    "/bin/tritonserver": "tritonserver",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One process, once.

    Attributes:
        mode: of the bag.
        victim: part of its command line.
        action: "killed" or "paused".
        longest_wait_s: of any caller, for an answer or an error.
        whole_after_s: until good answers came again; infinity: not within WHOLE_WITHIN_S.
        wrong: how many answers were not the full votes of their own rows.
        named: whether the message named the victim; a pause needs none.
        left_behind: processes and regions of shared memory that were there after the end.
        wrong_answers: what they were.
    """

    mode: str
    victim: str
    action: str
    longest_wait_s: float
    whole_after_s: float
    wrong: int
    named: bool
    left_behind: int
    wrong_answers: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether all of it is as promised."""
        in_time = self.longest_wait_s < ANSWERED_WITHIN_S and self.whole_after_s < WHOLE_WITHIN_S
        return in_time and self.named and not self.wrong and not self.left_behind


def trial(repository: Path, mode: str, victim: str, action: str) -> Trial:
    """Start a server, do it, look, stop."""
    with tempfile.TemporaryDirectory() as folder, Serving(repository, Path(folder)) as serving:
        with Load(serving.ready["grpc"], asked_model(mode, victim)) as load:
            whole_after_s = _whole_after_s(strike(serving.pids(victim), action), load)
        longest_s = max(load.waits_s)  # every call has returned: one that hung counts
        wrong = tuple(json.dumps(outputs) for outputs in load.wrong)
        named = action == "paused" or VICTIMS[victim] in serving.errors()
        serving.process.send_signal(signal.SIGTERM)
        serving.process.wait(timeout=120)
        left_behind = _left_behind(f"exeunt-{serving.process.pid}-")
    return Trial(mode, victim, action, longest_s, whole_after_s, len(wrong), named, left_behind, wrong)


def asked_model(mode: str, victim: str) -> str:
    """The model that callers ask: one that needs the process."""
    only_plain = victim == "tiny_vote/" or (mode == "engine" and victim == "/tiny_a")
    return full_model(NAME) if only_plain else NAME


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
    count = len(list(Path("/dev/shm").glob(f"*{name}*")))
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += name in command.read_text(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
    return count


def process_name(victim: str) -> str:
    """What the table calls a process.

    Args:
        victim: part of its command line.
    """
    return victim.strip("/").removeprefix("bin/")


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
    for mode, victim, action in product(MODES, VICTIMS, ACTIONS):
        same = [one for one in trials if (one.mode, one.victim, one.action) == (mode, victim, action)]
        if not same:
            continue
        longest, whole = max(one.longest_wait_s for one in same), max(one.whole_after_s for one in same)
        wrong, left_behind = sum(one.wrong for one in same), sum(one.left_behind for one in same)
        good = sum(one.good for one in same)
        who = (mode, process_name(victim), action, str(len(same)))
        lines.append(
            (*who, f"{longest:.1f} s", f"{whole:.1f} s", str(wrong), str(left_behind), f"{good} of {len(same)}")
        )
    where = ", ".join(f"{key} {value}" for key, value in about.items())
    wrong_lines = [
        f"Wrong: {one.mode}, {one.victim} {one.action}: {text}" for one in trials for text in one.wrong_answers
    ]
    page = [
        "# Killed and paused processes",
        "",
        markdown_table(head, lines),
        "",
        *wrong_lines,
        f"Machine: {where}.",
        "",
    ]
    return "\n".join(page)


def last_trials() -> list[Trial]:
    """What earlier runs kept; nothing where none did."""
    file = RESULTS / "kills.json"
    document = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"trials": []}
    return [Trial(**one) for one in document["trials"]]


def left_to_do(trials: Sequence[Trial], times: int) -> list[tuple[str, str, str]]:
    """(mode, victim, action) of every trial that is left, so that all kinds are tried about equally often at any time.

    Args:
        trials: that have been made.
        times: how often each kind is to be tried in all.
    """
    kinds = list(product(MODES, VICTIMS, ACTIONS))
    trial_counts = Counter((one.mode, one.victim, one.action) for one in trials)
    return [kind for number in range(times) for kind in kinds if trial_counts[kind] <= number]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is left of it, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="each process and action, earlier runs included (20)")
    again = "forget earlier runs of one kind, as the table names it, and make that alone"
    parser.add_argument("--again", nargs=3, metavar=("MODE", "PROCESS", "ACTION"), help=again)
    args = parser.parse_args(argv)
    about, trials = machine(), last_trials()
    if args.again:
        trials = [one for one in trials if [one.mode, process_name(one.victim), one.action] != args.again]
    with tempfile.TemporaryDirectory() as folder:
        repositories = {}
        for mode in MODES:
            mode_folder = Path(folder) / mode
            mode_folder.mkdir()
            bag = tiny_bag(mode_folder, mode=mode, members=2, exit_table='tuner = "static"')
            repositories[mode] = export_bag(bag, mode_folder / "repository").output
        remaining = left_to_do(trials, args.times)
        if args.again:
            remaining = [one for one in remaining if [one[0], process_name(one[1]), one[2]] == args.again]
        for number, (mode, victim, action) in enumerate(remaining, start=1):
            trials.append(trial(repositories[mode], mode, victim, action))
            print(f"{number} of {len(remaining)}: {trials[-1]}", flush=True)
            document = {"machine": about, "trials": [asdict(one) for one in trials]}
            RESULTS.joinpath("kills.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            RESULTS.joinpath("kills.md").write_text(markdown(trials, about), encoding="utf-8")
    print(markdown(trials, about))
    return 0 if all(one.good for one in trials) else 1


if __name__ == "__main__":
    raise SystemExit(main())
