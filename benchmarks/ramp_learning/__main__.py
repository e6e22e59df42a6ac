"""A stream that comes back, served by one bag with learning ramps and without, beside the plain ensemble.

    python -m benchmarks.ramp_learning [--mode ensemble]

EfficientNet-Lite 0, 1 and 2 (ImageNet, 1000 classes) about crops of 76 photographs that come again and again, none of
them among the samples that the ramps were trained on. Schedule `auto`, the promise 1 %. Three contenders on one Poisson
stream in turns of ten seconds: the plain Triton ensemble, the bag as exported, the same export with `learn_ramps`. The
first rows are measured, those in between only served (faster, to both bags), the last ones measured again. Before that
the stream goes through the decision core and the learner without a server (decided.py), which is the same on every
machine but for the processor time that learning takes; `--offline` does only that. Writes
benchmarks/results/ramp_learning.md and .json, in ensemble mode ramp_learning_ensemble.md and .json. A second run uses
the first one's export.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ramp_learning.decided import course
from benchmarks.ramp_learning.ramps import served_rows, shares
from benchmarks.ramp_learning.report import FIXED, LEARNING, PLAIN, markdown
from benchmarks.serving.__main__ import CACHE
from benchmarks.serving.export import bag_file_text
from benchmarks.serving.imagenet import BAG
from benchmarks.serving.load import capacity_per_s
from benchmarks.serving.machine import machine
from exeunt.contract import exit_model, full_model, vote_model
from exeunt.hosting.ramp_learning import HEADS_SUFFIX
from exeunt.hosting.status import find_status
from exeunt.learning.files import load_exported, load_heads
from exeunt.manifest import Manifest
from exeunt.manifest_check import MODES
from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.load import RequestOutcome, Traffic, run_load
from exeunt.serving.bags import bag_of
from exeunt.serving.pip_server import Server, serve
from exeunt_export.export_bag import export_bag

RESULTS = Path(__file__).parents[1] / "results"
NAME = "photographs"
EPS = 0.01
TURN_S = 10.0
LOAD, BETWEEN_LOAD = 0.3, 0.6
SEED = 5
OFFLINE_RATE_PER_S = 12.0
CPU_SHARES, PART_ROWS = (0.0, 0.02, 0.2), 500  # 0: ramps as exported


def exported(folder: Path, cache: Path, mode: str) -> Path:
    """The export that learns and holds the plain ensemble; made where it is not there."""
    repository = folder / "repository"
    if not (repository / exit_model(NAME)).exists():
        folder.mkdir(parents=True, exist_ok=True)
        material = BAG.prepare(folder, cache, print)
        np.save(folder / "samples.npy", material.samples)
        text = bag_file_text(NAME, mode, "auto", material.settings, material, baseline=True)
        (folder / "bag.toml").write_text(text + "learn_ramps = true\n", encoding="utf-8")
        export_bag(folder / "bag.toml", repository, force=True)
    return repository


def without_learning(repository: Path, folder: Path) -> Path:
    """The same export, told not to learn, without the plain ensemble."""
    shutil.rmtree(folder, ignore_errors=True)
    plain = {full_model(NAME), vote_model(NAME), *(member.model for member in bag_of(repository).manifest.members)}
    for model in (path for path in repository.iterdir() if path.is_dir() and path.name not in plain):
        shutil.copytree(model, folder / model.name)
    config = folder / exit_model(NAME) / "config.pbtxt"
    override = 'parameters { key: "learn_ramps" value { string_value: "false" } }\n'
    config.write_text(config.read_text(encoding="utf-8") + override, encoding="utf-8")
    return folder


class Contenders:
    """Two servers, three contenders, one stream.

    Args:
        servers: of FIXED and of LEARNING, which also has the plain ensemble.
        input_: name of the bag's input.
        stream: [rows, ...].
    """

    def __init__(self, servers: dict[str, Server], input_: str, stream: np.ndarray) -> None:
        self.url = {name: f"grpc://{server.grpc_url}" for name, server in servers.items()}
        self.url[PLAIN] = self.url[LEARNING]
        self._traffic = Traffic({input_: stream}, warm_up=0, gap_s=1.0)

    def ask(self, names: Sequence[str], first: int, rows: int, rate_per_s: float) -> dict[str, list[RequestOutcome]]:
        """Every contender's outcomes of `rows` rows from `first` on, in turns."""
        outcomes: dict[str, list[RequestOutcome]] = {name: [] for name in names}
        for block in take_turns(names, poisson(rate_per_s, rows, SEED + first), TURN_S):
            name = block.model
            model = full_model(NAME) if name == PLAIN else NAME
            shifted_block = type(block)(model, block.requests + first, block.offsets_s, block.stream_s)
            outcomes[name] += run_load(self.url[name], self._traffic, [shifted_block]).outcomes[model]
        return outcomes


def summary(outcomes: dict[str, list[RequestOutcome]], exits: int) -> dict[str, Any]:
    """Latency, exits and losses by contender; a loss is a label other than the plain ensemble's for the same row."""
    full = {o.request: int(o.answers.labels[0]) for o in outcomes[PLAIN] if o.answers is not None}
    summaries = {}
    for name, contender_outcomes in outcomes.items():
        answered = [(o, o.answers) for o in contender_outcomes if o.answers is not None]
        ms = np.array([1e3 * (o.done_s - o.scheduled_s) for o, _ in answered])
        summaries[name] = {
            "rows": len(contender_outcomes),
            "failed": len(contender_outcomes) - len(answered),
            "p50_ms": float(np.percentile(ms, 50)),
            "p99_ms": float(np.percentile(ms, 99)),
            "mean_ms": float(ms.mean()),
            "losses": sum(int(a.labels[0]) != full.get(o.request, int(a.labels[0])) for o, a in answered),
            "exits": []
            if name == PLAIN
            else (np.bincount([int(a.exits[0]) for _, a in answered], minlength=exits) / len(answered)).tolist(),
        }
    return summaries


def measure(
    repository: Path, folder: Path, stream: np.ndarray, measured_rows: int, between_rows: int
) -> dict[str, Any]:
    """Serve, measure, serve, measure; then look at the heads."""
    state_dir = folder / "state"
    shutil.rmtree(state_dir, ignore_errors=True)
    version = repository / exit_model(NAME) / "1"
    manifest = Manifest.load(version / "manifest.json")
    fixed = without_learning(repository, folder / "fixed")
    logs = {name: folder / f"{name.replace(' ', '_')}.log" for name in (FIXED, LEARNING)}
    figures: dict[str, Any] = {"measured": measured_rows, "between": between_rows}
    with (
        serve(fixed, log=logs[FIXED], state_dir=folder / "state_fixed") as first,
        serve(repository, log=logs[LEARNING], state_dir=state_dir) as second,
    ):
        contenders = Contenders({FIXED: first, LEARNING: second}, manifest.inputs[0].name, stream)
        capacity = capacity_per_s(contenders.url[PLAIN], full_model(NAME), stream[:64])
        figures["capacity_per_s"] = capacity
        everybody, began_s = (PLAIN, FIXED, LEARNING), time.monotonic()
        figures["first"] = summary(contenders.ask(everybody, 0, measured_rows, LOAD * capacity), len(manifest.exits))
        print(json.dumps(figures["first"], indent=1), flush=True)
        contenders.ask((FIXED, LEARNING), measured_rows, between_rows, BETWEEN_LOAD * capacity)
        figures["ramps_after_between"] = ramps_of(state_dir)
        outcomes = contenders.ask(everybody, measured_rows + between_rows, measured_rows, LOAD * capacity)
        figures["last"] = summary(outcomes, len(manifest.exits))
        print(json.dumps(figures["last"], indent=1), flush=True)
        figures["seconds"] = time.monotonic() - began_s
        figures["ramps"] = ramps_of(state_dir)
    heads_file = load_heads(state_dir / f"{manifest.content_hash}{HEADS_SUFFIX}", manifest)
    before = load_exported(version, manifest)
    after = before | dict(heads_file.heads.table if heads_file else {})
    rows = served_rows(manifest, repository, sorted(before), stream[-measured_rows:])
    figures["exits"] = [list(exit_.depths) for exit_ in manifest.exits[:-1]]
    figures["as_exported"], figures["learnt"] = (
        asdict(shares(manifest, rows, heads, EPS)) for heads in (before, after)
    )
    return figures


def offline(repository: Path, stream: np.ndarray, rate_per_s: float) -> dict[str, Any]:
    """The stream decided without a server, by share of a core that learning has: parts of PART_ROWS rows."""
    version = repository / exit_model(NAME) / "1"
    manifest = Manifest.load(version / "manifest.json")
    exported_heads = load_exported(version, manifest)
    rows = served_rows(manifest, repository, sorted(exported_heads), stream)
    latest = rows.rows(slice(-PART_ROWS, None))
    depths = [list(exit_.depths) for exit_ in manifest.exits[:-1]]
    figures: dict[str, Any] = {"rate_per_s": rate_per_s, "rows": len(stream), "exits": depths, "shares": {}}
    for share in CPU_SHARES:
        run = course(manifest, version, exported_heads, rows, cpu_share=share, rate_per_s=rate_per_s)
        parts = [slice(first, first + PART_ROWS) for first in range(0, len(stream), PART_ROWS)]
        figures["shares"][f"{share:g}"] = {
            "mean": [float(run.latency[part].mean()) for part in parts],
            "median": [float(np.median(run.latency[part])) for part in parts],
            "lost": int(run.lost.sum()),
            "exits": (np.bincount(run.exit[-PART_ROWS:], minlength=len(manifest.exits)) / PART_ROWS).tolist(),
            "changes": list(run.changes),
            "cpu_s": run.cpu_s,
            **asdict(shares(manifest, latest, exported_heads | dict(run.heads_after(len(rows) - PART_ROWS)), EPS)),
        }
        print(json.dumps(figures["shares"][f"{share:g}"]), flush=True)
    return figures


def ramps_of(state_dir: Path) -> dict[str, float | None]:
    """What the server says of its learning."""
    metrics = find_status(state_dir, NAME).metrics
    return {name.removeprefix("ramps_"): value for name, value in metrics.items() if name.startswith("ramps_")}


def main() -> None:
    """Parse the command line, measure, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=MODES, default="engine", help="of the bag")
    parser.add_argument("--folder", type=Path, help="of export and servers (runs/ramp_learning, or with _ensemble)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="of what is fetched")
    parser.add_argument("--measured", type=int, default=500, help="rows measured before and after")
    parser.add_argument("--between", type=int, default=1500, help="rows served in between")
    parser.add_argument("--export-only", action="store_true", help="neither serve nor decide")
    parser.add_argument("--offline", action="store_true", help="do not serve")
    args = parser.parse_args()
    name = "ramp_learning" if args.mode == "engine" else f"ramp_learning_{args.mode}"
    folder = args.folder or Path("runs") / name
    repository = exported(folder, args.cache, args.mode)
    if args.export_only:
        return
    stream = BAG.prepare(folder, args.cache, print).stream(2 * args.measured + args.between, SEED).inputs
    json_file = RESULTS / f"{name}.json"
    figures: dict[str, Any] = json.loads(json_file.read_text(encoding="utf-8")) if json_file.exists() else {}
    figures.pop("note", None)
    figures |= {"mode": args.mode, "machine": machine()}
    figures["offline"] = offline(repository, stream, OFFLINE_RATE_PER_S)
    keep(json_file, figures)
    if not args.offline:
        figures["served"] = measure(repository, folder, stream, args.measured, args.between)
        keep(json_file, figures)


def keep(path: Path, figures: dict[str, Any]) -> None:
    """Write what was found so far."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    page = markdown(figures, (__doc__ or "").split("\n\n")[2])
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page, flush=True)


if __name__ == "__main__":
    main()
