"""`exeunt replay`: replay recorded feedback with other tuners.

Answer recorded inputs again with other tuners, offline, by the server's own code: latency, loss, worst window, answers
per exit, the tuner's time. A server records where `[exit] records_dir` names a folder.

Example: exeunt replay records --tuner hill_climb,budget,static --max-loss 0.01 --plot replay.png
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from exeunt.records.feedback import Feedback
    from exeunt.records.record import Record
    from exeunt.replay.run import ReplayResult, ReplayRun
    from exeunt.replay.stream import VoteStream


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("records", type=Path, help="folder of a server's records, or one of its files")
    parser.add_argument(
        "--tuner",
        default="",
        metavar="NAMES",
        help="tuners separated by commas, options behind colons: hill_climb:constants=public_code "
        "(default: the recorded one)",
    )
    parser.add_argument("--max-loss", type=float, metavar="SHARE", help="promised loss (default: the recorded one)")
    parser.add_argument(
        "--repository",
        type=Path,
        metavar="FOLDER",
        help="repository of the bag: the tuners then start from its calibration data, as the server does",
    )
    parser.add_argument(
        "--hindsight", action="store_true", help="add the oracle and the best fixed thresholds of the whole record"
    )
    parser.add_argument("--seed", type=int, help="of the tuners' chance (default: the recorded one)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw latency and loss along the record")


def run(args: argparse.Namespace) -> int:
    """Replay, print, plot.

    Raises:
        ConfigError: no records, an unknown tuner or option, a max_loss that is not a share.
    """
    from exeunt.records.record import read_record
    from exeunt.replay.stream import recorded_stream

    if args.max_loss is not None and not 0 <= args.max_loss <= 1:
        raise ConfigError(f"--max-loss {args.max_loss}; allowed: a number from 0 to 1")
    record = read_record(args.records)
    if not len(record.decided):
        raise ConfigError(f"{args.records}: the record holds no rows")
    max_loss = record.about.settings.max_loss if args.max_loss is None else args.max_loss
    stream = recorded_stream(record, str(args.records))
    runs = _runs(args, record, stream, _calibration(args, record))
    results = _results(record, stream, runs, max_loss)
    if args.json:
        print(json.dumps(_as_json(record, max_loss, results, runs), indent=1))
    else:
        _show(record, max_loss, results, runs)
    if args.plot:
        from exeunt.replay.plots import plot_course

        plot_course(stream, runs, record.about.costs, max_loss, args.plot)
    return 0


def _runs(args: argparse.Namespace, record: Record, stream: VoteStream, calibration: Feedback) -> list[ReplayRun]:
    """What the server did, then each tuner, then the references."""
    from exeunt.replay.hindsight import answer_fixed, answer_oracle, best_fixed
    from exeunt.replay.policies import Policy, parse_policies, run_policy

    about = record.about
    served_policy = Policy(about.settings.tuner, about.settings.tuner, about.settings.tuner_options)
    seed = about.settings.seed if args.seed is None else args.seed
    runs = [_as_recorded(record, stream)]
    for policy in parse_policies(args.tuner) if args.tuner else [served_policy]:
        if policy.tuner == served_policy.tuner and not policy.options:
            policy = served_policy
        settings = policy.settings(about.settings, args.max_loss)
        runs.append(run_policy(policy, stream, about.costs, settings, calibration, seed=seed))
    if args.hindsight:
        lossless = about.settings.lossless
        max_loss = about.settings.max_loss if args.max_loss is None else args.max_loss
        fixed = best_fixed(stream.part(stream.finished), about.costs, max_loss, lossless)
        runs.append(answer_fixed(stream, fixed, about.costs, lossless, policy="best fixed"))
        runs.append(answer_oracle(stream, about.costs))
    return runs


def _results(record: Record, stream: VoteStream, runs: Sequence[ReplayRun], max_loss: float) -> list[ReplayResult]:
    """One line per run; with classes of service one per run and class, each judged by its own promise."""
    import numpy as np

    from exeunt.replay.run import result_of

    costs, settings = record.about.costs, record.about.settings
    present = np.unique(stream.rows.service_class).tolist()
    if present == [0]:
        return [result_of(stream, run, costs, max_loss) for run in runs]
    losses = (max_loss, *settings.class_losses[1:])
    names = ["default", *settings.classes_of_service[1:]]
    return [
        result_of(stream, run, costs, losses[name], name, f"{run.policy} [{names[name]}]")
        for run in runs
        for name in present
    ]


def _as_recorded(record: Record, stream: VoteStream) -> ReplayRun:
    """The answers that the server gave, priced like the replayed ones."""
    from exeunt.replay.replay import latency_us_of
    from exeunt.replay.run import ReplayRun

    latency_us = latency_us_of(record.decided, stream.offered, record.about.costs)
    return ReplayRun.of("as recorded", record.decided, latency_us)


def _calibration(args: argparse.Namespace, record: Record) -> Feedback:
    """Calibration data of the record's bag, or none."""
    import numpy as np

    from exeunt.deciding.calibration import load_calibration
    from exeunt.records.feedback import Feedback
    from exeunt.serving.bags import served_bags

    if args.repository is None:
        nothing = np.zeros((0, record.about.exits))
        return Feedback.observed(nothing, nothing)
    for bag in served_bags(args.repository):
        if bag.manifest.content_hash == record.about.content_hash:
            return load_calibration(bag.calibration_file, bag.manifest)
    raise ConfigError(f"{args.repository}: holds no bag with content hash {record.about.content_hash}, the record's")


def _agreement(runs: Sequence[ReplayRun]) -> list[float]:
    """Share of rows that each run lets leave at the same exit for the same reason as the record."""
    first = runs[0]
    return [float(((run_.exit == first.exit) & (run_.reason == first.reason)).mean()) for run_ in runs]


def _as_json(
    record: Record, max_loss: float, results: Sequence[ReplayResult], runs: Sequence[ReplayRun]
) -> dict[str, Any]:
    about = {"bag": record.about.bag, "content_hash": record.about.content_hash, "max_loss": max_loss}
    agreement = dict(zip([run_.policy for run_ in runs], _agreement(runs), strict=True))
    table = {"missing_rows": record.missing_rows, "as_recorded": agreement}
    return about | table | {"results": [dataclasses.asdict(result) for result in results]}


def _show(record: Record, max_loss: float, results: Sequence[ReplayResult], runs: Sequence[ReplayRun]) -> None:
    from rich.console import Console
    from rich.markup import escape

    from exeunt.replay.tables import rich_table

    console = Console(width=None if sys.stdout.isatty() else 130)
    title = f"{record.about.bag}: {len(record.decided)} rows replayed, promised loss {max_loss:.2%}"
    console.print(rich_table(results, title))
    for run_, agreement in list(zip(runs, _agreement(runs), strict=True))[1:]:
        console.print(f"{escape(run_.policy)}: {agreement:.2%} of the rows left where the record says")
    if record.missing_rows:
        console.print(f"{record.missing_rows} rows are missing from the record")
