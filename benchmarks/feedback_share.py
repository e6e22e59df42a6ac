"""What less feedback saves: latency beside the plain ensemble, and the work per answer, of a bag in either mode.

    python -m benchmarks.feedback_share --repository runs/demo/model_repository --rows runs/demo/test.npy

asks the bag and the plain ensemble in turns, single rows and requests of many rows, first with full feedback, then with
a share of it. Losses are counted against the plain ensemble's answer to the same rows. `make demo` leaves repository
and rows behind. Writes
benchmarks/results/feedback_share_MODE.md and .json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.machine import machine
from exeunt.contract import full_model
from exeunt.hosting.control import Control, control_path, write_control
from exeunt.measuring.perf_metrics import parse, scrape
from exeunt.serving.bags import bag_of
from exeunt.serving.pip_server import Server, serve
from exeunt.tables import markdown_table
from exeunt_client.blocking import Client

RESULTS = Path(__file__).parent / "results"
WARM_UP_REQUESTS = 600  # single rows, so that the tuner has learnt
PAUSE_S = 0.02  # between two requests: idle time in which answered rows are finished
SETTLE_S = 4.0  # until feedback is finished and the metrics are published


@dataclass(frozen=True, slots=True)
class Line:
    """One size of requests under one share of feedback.

    Attributes:
        feedback: the setting.
        rows: of a request.
        requests: of each contender.
        p50_ms: median latency.
        plain_p50_ms: the plain ensemble's.
        work_per_answer: in times of the full ensemble's work, as profiled.
        lost_rows: answers with another label than the plain ensemble's.
        full_ms: the members' own time for one row, as profiled: the plain ensemble's floor.
    """

    feedback: str | float
    rows: int
    requests: int
    p50_ms: float
    plain_p50_ms: float
    work_per_answer: float
    lost_rows: int
    full_ms: float

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return self.p50_ms / self.plain_p50_ms


class Contenders:
    """A served bag and its plain ensemble.

    Args:
        server: serves both.
        bag: name of the bag.
        input_: name of its one input.
        rows: what is asked, over and over.
    """

    def __init__(self, server: Server, bag: str, input_: str, rows: np.ndarray) -> None:
        url = f"grpc://{server.grpc_url}"
        self._clients = Client(url, bag), Client(url, full_model(bag))
        self._metrics_url = server.metrics_url
        self._input = input_
        self._rows = rows
        self._rows_sent = 0

    def once(self, rows: int) -> tuple[float, float, int]:
        """Ask both about the same rows: (ms, ms of the plain ensemble, rows whose labels differ)."""
        batch = self._rows[(np.arange(rows) + self._rows_sent) % len(self._rows)]
        self._rows_sent += rows
        times, labels = [], []
        for client in self._clients:
            start = time.perf_counter()
            answers = client.infer({self._input: batch})
            times.append(1000.0 * (time.perf_counter() - start))
            labels.append(answers.labels)
        return times[0], times[1], int(np.count_nonzero(labels[0] != labels[1]))

    def work_us(self) -> tuple[float, float]:
        """(work, full ensemble's work) since the start."""
        samples = parse(scrape(self._metrics_url))
        values = {
            dict(labels).get("name"): value for (family, labels), value in samples.items() if family == "exeunt_runner"
        }
        return values["work_us_total"], values["full_work_us_total"]

    def measure(self, feedback: str | float, rows: int, requests: int, full_ms: float) -> Line:
        """One line of the table."""
        time.sleep(SETTLE_S)
        before = self.work_us()
        turns = []
        for _ in range(requests):
            turns.append(self.once(rows))
            time.sleep(PAUSE_S)
        time.sleep(SETTLE_S)
        after = self.work_us()
        bag_ms, plain_ms, lost_rows = (np.array(column) for column in zip(*turns, strict=True))
        work = (after[0] - before[0]) / (after[1] - before[1])
        return Line(
            feedback,
            rows,
            requests,
            float(np.median(bag_ms)),
            float(np.median(plain_ms)),
            work,
            int(lost_rows.sum()),
            full_ms,
        )


def measured(repository: Path, rows: np.ndarray, shares: Sequence[str | float], requests: int) -> list[Line]:
    """Serve and measure."""
    bag = bag_of(repository).manifest
    full_ms = bag.costs().elapsed_us[-1] / 1000.0
    lines = []
    with tempfile.TemporaryDirectory() as folder, serve(repository, state_dir=Path(folder)) as server:
        contenders = Contenders(server, bag.bag, bag.inputs[0].name, rows)
        for _ in range(WARM_UP_REQUESTS):
            contenders.once(1)
        for version, feedback in enumerate(shares, start=1):
            write_control(control_path(Path(folder), bag.content_hash), Control(version=version, feedback=feedback))
            for size in (1, min(16, bag.max_batch_size), min(64, bag.max_batch_size)):
                if not any(line.rows == size and line.feedback == feedback for line in lines):
                    lines.append(contenders.measure(feedback, size, max(10, requests // size), full_ms))
    return lines


def markdown(lines: Sequence[Line], mode: str, about: dict[str, Any]) -> str:
    """The table, with the machine."""
    head = ("feedback", "rows", "requests", "p50", "plain ensemble's", "ratio", "work per answer", "losses")
    cells = []
    for line in lines:
        times = (
            f"{line.p50_ms:.1f} ms",
            f"{line.plain_p50_ms:.1f} ms",
            f"{line.ratio:.2f}",
            f"{line.work_per_answer:.2f}",
        )
        losses = f"{line.lost_rows} of {line.rows * line.requests}"
        cells.append((str(line.feedback), str(line.rows), str(line.requests), *times, losses))
    table = markdown_table(head, cells)
    where = ", ".join(f"{key} {value}" for key, value in about.items())
    bare = f"The members side by side take {lines[0].full_ms:.1f} ms for one row, as profiled at export."
    return "\n".join([f"# What less feedback saves, {mode} mode", "", table, "", bare, "", f"Machine: {where}.", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True, help="with one bag")
    parser.add_argument("--rows", type=Path, required=True, help=".npy file, first axis = rows")
    parser.add_argument("--share", type=float, default=0.1, help="of feedback, beside full feedback (0.1)")
    parser.add_argument("--requests", type=int, default=400, help="single rows of each contender (400)")
    args = parser.parse_args(argv)
    about = machine()
    lines = measured(args.repository, np.load(args.rows), ("all", args.share), args.requests)
    mode = bag_of(args.repository).manifest.mode
    page = markdown(lines, mode, about)
    print(page)
    RESULTS.joinpath(f"feedback_share_{mode}.md").write_text(page, encoding="utf-8")
    document = {"machine": about, "lines": [asdict(line) for line in lines]}
    RESULTS.joinpath(f"feedback_share_{mode}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
