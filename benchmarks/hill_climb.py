"""How long one hill climb takes, against the published loop in plain Python, interleaved in one run.

    python benchmarks/hill_climb.py [--runs 40]

writes benchmarks/results/hill_climb.json and .md. Both searches get the same rows and must find the same thresholds.
Each starts from records as it would keep them: the plain loop from lists, ours from `Evidence` (arrays). What turning
`Feedback` into `Evidence` costs is a column of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.records.feedback import Feedback
from exeunt.tables import markdown_table
from exeunt.tuning.apparate.threshold_search import PAPER, PUBLIC_CODE, SearchRules, search_thresholds
from exeunt.tuning.evidence import Evidence

RESULTS = Path(__file__).parent / "results"
RAMPS = (2, 3, 4)
ROWS = (16, 64, 256)
ROWS_IN_A_ROW = 256  # a clock reading spans climbs on that many rows
REPEATS = 8  # by turns on each window; the best counts, since the machine may be shared
SEARCH_LOSS = {"paper": 0.01, "public_code": 0.0001}
RULES = {"paper": PAPER, "public_code": PUBLIC_CODE}


PlainTrial = tuple[int, float, float, float]  # ramp, threshold, latency saved, accuracy lost


@dataclass(frozen=True)
class Records:
    """What the plain loop replays.

    Attributes:
        confidence: [rows][ramps]; a row leaves where 1 - confidence is below the threshold.
        wrong: [rows][ramps], whether the ramp's label differs from the full one's.
        weight: [rows].
        latency_ns: [ramps + 1], latency of an answer at each ramp and at the end.
    """

    confidence: Sequence[Sequence[float]]
    wrong: Sequence[Sequence[bool]]
    weight: Sequence[float]
    latency_ns: Sequence[int]

    def replay(self, thresholds: Sequence[float]) -> tuple[float, float]:
        """Summed latency and wrong answers under these thresholds: each row leaves at the first ramp below."""
        latency = lost = 0.0
        for confidence, wrong, weight in zip(self.confidence, self.wrong, self.weight, strict=True):
            for ramp, threshold in enumerate(thresholds):
                if 1.0 - confidence[ramp] < threshold:
                    latency += self.latency_ns[ramp] * weight
                    lost += wrong[ramp] * weight
                    break
            else:
                latency += self.latency_ns[-1] * weight
        return latency, lost

    def trials(self, thresholds: list[float], steps: list[float], allowed: float) -> tuple[list[PlainTrial], list[int]]:
        """Every ramp alone tries its threshold plus its step: the feasible trials, and the ramps that overstepped."""
        base_latency, base_lost = self.replay(thresholds)
        trials, overstepped = [], []
        for ramp, threshold in enumerate(thresholds):
            if threshold >= 1.0:
                continue
            raised = min(1.0, threshold + steps[ramp])
            latency, lost = self.replay([*thresholds[:ramp], raised, *thresholds[ramp + 1 :]])
            if lost > allowed or latency > base_latency:
                overstepped.append(ramp)
            else:
                trials.append((ramp, raised, base_latency - latency, lost - base_lost))
        return trials, overstepped


def plain_climb(records: Records, allowed_loss: float, rules: SearchRules) -> tuple[float, ...]:
    """The published loop, nothing clever: every trial replays every record. Returns a threshold per ramp."""
    ramps = range(len(records.latency_ns) - 1)
    allowed = allowed_loss * sum(records.weight) + 1e-9
    thresholds, steps = [0.0 for _ in ramps], [rules.start_step for _ in ramps]
    while True:
        trials, overstepped = records.trials(thresholds, steps, allowed)
        free, best = (plain_public if rules.public else plain_paper)(trials)
        for ramp in {*free, *([] if best is None else [best[0]])}:
            steps[ramp] = min(1.0, steps[ramp] * 2)
        if best is not None:
            thresholds[best[0]] = best[1]
        changed = False
        for ramp in overstepped if best is None or not rules.public else []:
            changed |= steps[ramp] > rules.floor_step
            steps[ramp] = max(rules.floor_step, steps[ramp] / 2)
        if best is None and not changed:
            return tuple(thresholds)


def plain_paper(trials: Sequence[PlainTrial]) -> tuple[list[int], PlainTrial | None]:
    """Ramps that lost nothing, and the trial with most latency saved per accuracy lost."""
    best, best_key = None, None
    for trial in trials:
        _, _, saved, lost = trial
        ratio = 0.0 if not saved else float("inf") if lost <= 0 else saved / lost
        if best_key is None or (ratio, saved, -lost) > best_key:
            best, best_key = trial, (ratio, saved, -lost)
    return [trial[0] for trial in trials if trial[3] <= 0], best


def plain_public(trials: Sequence[PlainTrial]) -> tuple[list[int], PlainTrial | None]:
    """Ramps whose accuracy or latency stayed, and the trial with least accuracy lost per latency saved."""
    free = [trial for trial in trials if trial[2] == 0 or trial[3] == 0]
    best = min((trial for trial in trials if trial not in free), key=lambda t: abs(t[3]) / t[2], default=None)
    return [trial[0] for trial in free], best or (free[0] if free else None)


def random_feedback(rows: int, ramps: int, seed: int) -> Feedback:
    """Feedback like that of the digits bag: deeper ramps err less, and errors have high error scores."""
    rng = np.random.default_rng(seed)
    hard = rng.beta(0.6, 2.0, (rows, 1))
    depth = np.linspace(1.0, 0.4, ramps)
    errors = np.clip(hard * depth + rng.normal(0, 0.05, (rows, ramps)), 0.0, 0.9)
    wrong = rng.random((rows, ramps)) < errors**2 * 0.5
    labels = np.concatenate([wrong.astype(int), np.zeros((rows, 1), dtype=int)], axis=1)
    return Feedback.observed(labels, np.concatenate([1.0 - errors, np.ones((rows, 1))], axis=1))


def timed(job: Callable[[], object], calls: int) -> float:
    """CPU milliseconds of a call, from several in a row: reading the clock takes as long as part of one search.

    CPU time, since waiting for a core on a shared machine does not count.
    """
    start = time.thread_time_ns()
    for _ in range(calls):
        job()
    return (time.thread_time_ns() - start) / 1e6 / calls


def measure(constants: str, rows: int, ramps: int, runs: int) -> dict[str, Any]:
    """Time both on `runs` different windows; on each, plain and ours by turns, the best of REPEATS counts."""
    rules, allowed = RULES[constants], SEARCH_LOSS[constants]
    latency_us = np.linspace(1000.0, 4000.0, ramps + 1)
    latency_ns = [round(latency_u * 1000) for latency_u in latency_us]
    best_ms = []
    for seed in range(runs):
        feedback = random_feedback(rows, ramps, seed)
        evidence = Evidence.of(feedback)
        confidence = feedback.confidence.astype(np.float64).tolist()
        records = Records(confidence, evidence.wrong.tolist(), evidence.weight.tolist(), latency_ns)
        plain = partial(plain_climb, records, allowed, rules)
        ours = partial(search_thresholds, evidence, range(ramps), latency_us, allowed, rules)
        if plain() != ours().thresholds:
            raise SystemExit(f"different thresholds on {rows} rows, seed {seed}: {plain()}, {ours().thresholds}")
        reading = partial(Evidence.of, feedback)
        jobs, calls = (plain, ours, reading), max(1, ROWS_IN_A_ROW // rows)
        best_ms.append(np.min([[timed(job, calls) for job in jobs] for _ in range(REPEATS)], axis=0))
    plain_ms, ours_ms, reading_ms = np.transpose(best_ms)
    return {
        "constants": constants,
        "rows": rows,
        "ramps": ramps,
        "windows": runs,
        "plain_ms": float(np.median(plain_ms)),
        "ours_ms": float(np.median(ours_ms)),
        "reading_feedback_ms": float(np.median(reading_ms)),
        "times_faster": float(np.median(plain_ms / ours_ms)),
        "least_times_faster": float(np.min(plain_ms / ours_ms)),
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    heads = ["constants", "rows", "ramps", "plain ms", "exeunt ms", "times faster (median)", "(least)", "+ reading ms"]
    lines = []
    keys = ["constants", "rows", "ramps", "plain_ms", "ours_ms", "times_faster", "least_times_faster"]
    digits = {"plain_ms": ".2f", "ours_ms": ".3f", "reading_feedback_ms": ".3f", "times_faster": ".1f"}
    digits["least_times_faster"] = ".1f"
    for result in results:
        lines.append([format(result[key], digits.get(key, "")) for key in [*keys, "reading_feedback_ms"]])
    return markdown_table(heads, lines)


def machine() -> dict[str, object]:
    """Where this ran."""
    cpu_file = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip() for line in cpu_file.read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main() -> None:
    """Measure, print, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40, help="windows per line of the table")
    runs = parser.parse_args().runs
    measure("paper", 64, 3, 5)  # warm up
    results = [measure(constants, rows, ramps, runs) for constants in RULES for ramps in RAMPS for rows in ROWS]
    fields_ = {"machine": machine(), "results": results}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "hill_climb.json").write_text(json.dumps(fields_, indent=1) + "\n", encoding="utf-8")
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    text = "# Hill climb against the published loop in plain Python\n\n"
    text += f"Same rows and thresholds, by turns, CPU time; {where}.\n"
    text += "`python benchmarks/hill_climb.py` writes this.\n\n"
    for rows in ROWS:
        least = min(result["times_faster"] for result in results if result["rows"] == rows)
        fields_ = "reached" if least >= 5 else "**not reached**"
        text += (
            f"- {rows} rows: at least {least:.1f} times faster (median over windows); the target of 5 is {fields_}\n"
        )
    text += "\n"
    (RESULTS / "hill_climb.md").write_text(text + table(results) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
