"""What `budget` costs, in sorts of its window: numpy sorting the same confidences, by turns in the same run.

    python benchmarks/budget.py [--rounds 40]

writes benchmarks/results/budget.json and .md. Window 4096 rows, 8 exits, 10 classes, 64 rows per feedback batch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from exeunt.contract import Reason
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tables import markdown_table
from exeunt.tuning.error_budget.budget_tuner import BudgetTuner
from exeunt.tuning.tuner import Answered, Setup, View

RESULTS = Path(__file__).parent / "results"
WINDOW_ROWS, EXITS, CLASSES, BATCH_ROWS = 4096, 8, 10, 64
TURNS = 5  # per round; the best of each job counts, since the machine may be shared
TARGETS = {"update": 5.0, "recomputation": 20.0}  # in sorts
TITLES = {
    "sort": "numpy sort of the window's confidences, float32 [4096, 8]",
    "decision": "decide a batch at one exit",
    "update": "update by one feedback batch",
    "recomputation": "recompute risks, path and plan",
    "reconsideration": "the same, and reconsider the active exits (every 1024 rows)",
}


def random_feedback(rows: int, seed: int) -> Feedback:
    """Rows of which deeper exits are surer and err less."""
    rng = np.random.default_rng(seed)
    ease = 2.0 + 1.5 * rng.normal(size=(rows, 1)) + 0.4 * np.arange(EXITS) + 0.7 * rng.normal(size=(rows, EXITS))
    confidence = 1.0 / (1.0 + np.exp(-ease))
    labels = np.repeat(rng.integers(0, CLASSES, (rows, 1)), EXITS, axis=1)
    wrong = rng.random((rows, EXITS)) < 0.8 * (1.0 - confidence)
    wrong[:, -1] = False
    return Feedback.observed(np.where(wrong, (labels + 1) % CLASSES, labels), confidence)


def jobs() -> dict[str, Callable[[], object]]:
    """What is timed, by the names of TITLES."""
    setup = Setup(
        Costs(np.linspace(1000.0, 8000.0, EXITS), np.append(np.full(EXITS - 1, 20.0), 0.0)),
        Settings(tuner="budget", tuner_options={"window_rows": WINDOW_ROWS}),
        random_feedback(WINDOW_ROWS, 0),
    )
    tuner = BudgetTuner(setup)
    confidence = setup.calibration.confidence.copy()
    batch = random_feedback(BATCH_ROWS, 1)
    view = View(batch.labels, batch.confidence, batch.service_class)
    ones = np.ones(BATCH_ROWS, dtype=bool)
    answers = Answered(
        np.full(BATCH_ROWS, Reason.EARLY, dtype=np.int8),
        np.zeros(BATCH_ROWS, dtype=np.int32),
        batch.service_class,
        batch.q,
        ones,
        ones,
    )
    early = batch.rows(slice(None))
    early.exit[:], early.reason[:] = 0, Reason.EARLY
    tuner.budget.classes[0].answered(1000)

    def update() -> None:
        tuner.answered(answers)
        tuner.learn(early)

    def recomputation(periods: int) -> None:
        tuner._until_retune = tuner._until_calibrate = 0
        tuner._until_period = -periods
        job = tuner.retune()
        assert job is not None
        tuner.adopt(job())

    return {
        "sort": lambda: np.sort(confidence, axis=0),
        "decision": lambda: tuner.leaves(0, view),
        "update": update,
        "recomputation": lambda: recomputation(-1),
        "reconsideration": lambda: recomputation(0),
    }


def timed_us(job: Callable[[], object]) -> float:
    """Microseconds of processor time of one call, all threads together: others may share the machine."""
    start = time.process_time_ns()
    job()
    return (time.process_time_ns() - start) / 1e3


def measure(rounds: int) -> list[dict[str, object]]:
    """Medians over rounds; in a round the jobs take turns, and the best of each is compared with the best sort."""
    todo = jobs()
    for job in todo.values():
        job()
    turns_us = [[[timed_us(job) for job in todo.values()] for _ in range(TURNS)] for _ in range(rounds)]
    times_us = np.array(turns_us).min(axis=1)
    return [
        {
            "job": name,
            "median_us": float(np.median(times_us[:, column])),
            "sorts": float(np.median(times_us[:, column] / times_us[:, 0])),
            "target_sorts": TARGETS.get(name),
        }
        for column, name in enumerate(todo)
    ]


def machine() -> dict[str, object]:
    """Where this ran."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": names[0], "cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}


def table(results: list[dict[str, object]]) -> str:
    """The results as a Markdown table."""
    lines = []
    for result in results:
        target = "" if result["target_sorts"] is None else f"<= {result['target_sorts']:.0f}"
        lines.append((TITLES[str(result["job"])], f"{result['median_us']:.0f}", f"{result['sorts']:.2f}", target))
    return markdown_table(("", "median CPU us", "sorts", "target"), lines)


def main() -> None:
    """Measure, print, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="how often everything is timed")
    results = measure(parser.parse_args().rounds)
    RESULTS.mkdir(exist_ok=True)
    fields_ = {"machine": machine(), "results": results}
    (RESULTS / "budget.json").write_text(json.dumps(fields_, indent=1) + "\n", encoding="utf-8")
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    text = f"# What `budget` costs, in sorts of its window\n\nBy turns in one run; {where}.\n\n{table(results)}\n"
    (RESULTS / "budget.md").write_text(text, encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
