"""The serving benchmark: one command from a clean clone.

    python -m benchmarks.serving            # everything; hours, most of it waiting for Poisson arrivals
    python -m benchmarks.serving --quick    # minutes, few requests: that it works, not what it measures

Three members of different kinds, together at least 30 ms of single-core work, trained here on rendered glyphs. The
contenders share one server and one Poisson stream and take turns of a few seconds: one onnxruntime process without a
server, members in series, the plain Triton ensemble, exeunt in ensemble mode, exeunt in engine mode with each schedule.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from benchmarks import serving_bag, serving_load, serving_report
from benchmarks.serving_bag import BAG, CONTENDERS
from benchmarks.serving_load import Point
from exeunt.contract import exit_model, full_model
from exeunt.deciding.calibration import exits_of
from exeunt.demo import glyphs
from exeunt.demo.data import DigitsPart
from exeunt.demo.records import depth_probabilities
from exeunt.manifest import Manifest
from exeunt.measuring.load import LoadRun
from exeunt.serving.bags import bag_of
from exeunt.serving.pip_server import Server, serve
from exeunt_client.blocking import Client
from exeunt_client.options import RequestOptions

PLAIN = full_model(BAG)
DRIFT = (0.25, 0.9, 0.35, 0.95, 0.25)  # difficulty, reached at even spaces along the stream
NEVER = RequestOptions(exit="never")
EXITS_OFF = (BAG, f"{BAG}_auto")  # asked for the full vote only; a schedule then makes no difference


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        requests: per contender and load.
        loads: shares of the plain ensemble's capacity.
        warm: requests that each contender answers at 30 % load before anything counts.
        probes: requests of one caller without load.
        batches: rows per request of the larger requests.
        oracle: rows of the stream on which the oracle is computed.
    """

    requests: int
    loads: tuple[float, ...]
    warm: int
    probes: int
    batches: tuple[int, ...]
    oracle: int


QUICK = Size(150, (0.3, 1.2), 100, 30, (8,), 150)
FULL = Size(3000, (0.3, 0.8, 1.05, 1.3, 1.6, 2.0), 600, 200, (1, 4, 16, 64), 3000)
FINISH_S = 0.01  # per row: about what the members still have to do after an early answer
ONE_THREAD = "one process, 1 threads"  # the bag's work: nothing runs side by side
SATURATED = 1.0  # the plain ensemble is not asked beyond: its queue would only grow


def stream(requests: int, seed: int) -> tuple[DigitsPart, np.ndarray]:
    """Images float32 [requests, 1, side, side] whose difficulty drifts, and the difficulty float [requests]."""
    difficulty = np.interp(np.linspace(0, 1, requests), np.linspace(0, 1, len(DRIFT)), DRIFT).astype(np.float32)
    return glyphs.glyphs(requests, seed, difficulty, serving_bag.SIDE_PX), difficulty


class Offline:
    """The members in one onnxruntime process, one after the other, without a server."""

    def __init__(self, folder: Path, names: Sequence[str], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        make = onnxruntime.InferenceSession
        self._sessions = [make(str(folder / f"{n}.onnx"), options, providers=["CPUExecutionProvider"]) for n in names]

    def vote(self, images: np.ndarray) -> np.ndarray:
        """The full vote, float32 [rows, classes]."""
        total = 0.0
        for session in self._sessions:
            logits = session.run(None, {"image": images})[0]
            share = np.exp(logits - logits.max(axis=1, keepdims=True))
            total = total + share / share.sum(axis=1, keepdims=True)
        return np.asarray(total) / len(self._sessions)

    def latencies_ms(self, images: np.ndarray) -> np.ndarray:
        """One by one."""
        spent = []
        for image in images:
            began_s = time.perf_counter()
            self.vote(image[None])
            spent.append(1e3 * (time.perf_counter() - began_s))
        return np.array(spent)


def oracle_share(repository: Path, manifest: Manifest, images: np.ndarray) -> float:
    """Mean latency, as a share of the full ensemble's, if every row left at the first exit that is right."""
    feedback = exits_of(depth_probabilities(repository, manifest, images), manifest)
    spent = manifest.costs().elapsed_us
    first = (feedback.labels == feedback.full[:, None]).argmax(axis=1)
    return float(spent[first].mean() / spent[-1])


def unloaded(url: str, manifest: Manifest, offline: dict[str, Offline], images: np.ndarray) -> dict[str, Any]:
    """[p50, mean] in ms of every contender, one caller, in turns of ten requests."""
    members = [member.model or "" for member in manifest.members]
    spent: dict[str, list[float]] = {}
    for start in range(0, len(images), 10):
        some = images[start : start + 10]
        for name, process in offline.items():
            spent.setdefault(name, []).extend(process.latencies_ms(some))
        series = np.sum([serving_load.closed_loop(url, model, some, 1) for model in members], axis=0)
        spent.setdefault("members in series, Triton", []).extend(series)
        spent.setdefault(PLAIN, []).extend(serving_load.closed_loop(url, PLAIN, some, 1))
        for bag in CONTENDERS:
            spent.setdefault(bag, []).extend(serving_load.closed_loop(url, bag, some, 1))
            time.sleep(0.5)  # what was answered early finishes
    return {name: [float(np.median(each)), float(np.mean(each))] for name, each in spent.items()}


def larger_requests(url: str, images: np.ndarray, sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Median latency of requests with several rows, one caller who lets what was answered early finish."""
    told = []
    for rows in sizes:
        for model in (PLAIN, *CONTENDERS):
            spent, early = [], []
            with Client(url, model) as client:
                for turn in range(rounds):
                    start = (turn * rows) % (len(images) - rows + 1)
                    began_s = time.perf_counter()
                    answers = client.infer({"image": images[start : start + rows]})
                    spent.append(1e3 * (time.perf_counter() - began_s))
                    early.append(bool((answers.reasons > 0).all()))
                    time.sleep(FINISH_S * rows)
            told.append({"rows": rows, "model": model, "p50_ms": float(np.median(spent)), "early": np.mean(early)})
    return told


def measure(server: Server, repository: Path, material: Path, size: Size, say: Any) -> tuple[dict[str, Any], Any]:
    """Everything that needs the server; (what was found, runs by load)."""
    url = f"grpc://{server.grpc_url}"
    manifest = bag_of(repository, BAG).manifest
    names = [member.name for member in manifest.members]
    part, difficulty = stream(size.requests, seed=11)
    images, warm = part.images, stream(size.warm, seed=12)[0].images
    offline = {ONE_THREAD: Offline(material, names, 1), "one process, 2 threads": Offline(material, names, 2)}
    reference = np.concatenate([offline[ONE_THREAD].vote(images[k : k + 16]).argmax(axis=1)
                                for k in range(0, len(images), 16)])  # fmt: skip
    capacity = serving_load.capacity_per_s(url, PLAIN, images[: max(64, size.probes)])
    say(f"the plain ensemble answers {capacity:.1f} a second; warm up: every contender earns its budget")
    serving_load.at_load(url, list(CONTENDERS), warm, 0.3, 0.3 * capacity, 4, None)
    told: dict[str, Any] = {"capacity_per_s": capacity}
    told["unloaded"] = unloaded(url, manifest, offline, images[: size.probes])
    told["batches"] = larger_requests(url, images, size.batches, max(5, size.probes // 10))
    asked = [PLAIN, *EXITS_OFF]  # before any load that leaves work behind
    never = dict.fromkeys(EXITS_OFF, NEVER)
    off, _ = serving_load.at_load(url, asked, images, 0.3, 0.3 * capacity, 6, reference, never)
    say("all exits off: " + ", ".join(f"{p.model} {p.p50_ms:.0f}/{p.p99_ms:.0f} ms" for p in off))
    points: list[Point] = []
    runs: dict[float, LoadRun] = {}
    for load in size.loads:
        models = [*([PLAIN] if load <= SATURATED else []), *CONTENDERS]
        found, runs[load] = serving_load.at_load(url, models, images, load, load * capacity, 5, reference)
        points += found
        say(f"load {load:.0%}: " + ", ".join(f"{p.model} {p.p50_ms:.0f}/{p.p99_ms:.0f} ms" for p in found))
    told["points"] = [point.to_mapping() for point in points]
    told["exits_off"] = [point.to_mapping() for point in off]
    told["memory_mb"] = serving_load.memory_mb(server.pid, _models(repository))
    told["promises"] = serving_load.promises(server.metrics_url, list(CONTENDERS))
    told["difficulty"] = difficulty.tolist()
    return told, (points, runs, difficulty)


def _models(repository: Path) -> dict[str, list[str]]:
    """Contender -> the Triton models that hold its memory."""
    folders = [each.name for each in repository.iterdir() if each.is_dir()]
    plain = bag_of(repository, BAG).manifest
    members = [member.model or "" for member in plain.members]
    ensemble = [f"{BAG}_vote", *members]
    engines = {bag: [exit_model(bag)] for bag, (mode, _) in CONTENDERS.items() if mode == "engine"}
    parts = [s.model for m in plain.members for s in m.segments] + [e.heads for e in plain.exits if e.heads]
    own = {PLAIN: ensemble, BAG: [exit_model(BAG), *parts], **engines}
    return {name: [model for model in models if model in folders] for name, models in own.items()}


def main() -> None:
    """Parse the command line, measure, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few requests: that it works, not what it measures")
    parser.add_argument("--requests", type=int, help="per contender and load")
    parser.add_argument("--loads", help="shares of the plain ensemble's capacity, separated by commas")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"), help="bag files, repository, log")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results"), help="report and pictures")
    args = parser.parse_args()
    size = QUICK if args.quick else FULL
    requests = args.requests or size.requests
    loads = tuple(float(each) for each in args.loads.split(",")) if args.loads else size.loads
    size = Size(requests, loads, size.warm, size.probes, size.batches, min(size.oracle, requests))
    torch.set_num_threads(1)
    run(size, args.folder, args.output, "quick run, too few requests for a p99" if args.quick else "")


def run(size: Size, folder: Path, output: Path, remark: str) -> None:
    """The whole benchmark."""

    def say(line: str) -> None:
        print(line, flush=True)

    about = serving_report.machine()
    modules = serving_bag.trained(say=say)
    some, _ = stream(size.oracle, seed=14)
    accuracy = serving_bag.accuracy(modules, some)
    say(f"accuracy on the stream: {accuracy}")
    repository = serving_bag.exported(modules, folder, say)
    manifests = {bag: bag_of(repository, bag).manifest for bag in CONTENDERS}
    oracle = oracle_share(repository, manifests[BAG], some.images)
    say(f"the oracle's mean latency share: {oracle:.2f}")
    own, profile = serving_load.own_time(repository, f"{BAG}_parallel", stream(300, 13)[0].images)
    say(f"controller and scheduler: {own}")
    with serve(repository, log=folder / "server.log") as server:
        told, (points, runs, difficulty) = measure(server, repository, folder, size, say)
    work_ms = told["unloaded"][ONE_THREAD][0]
    best = max(share for name, share in accuracy.items() if name != "bag")
    told |= {"machine": about, "accuracy": accuracy, "oracle_share": oracle, "own_time": own}
    told["exits"] = {bag: [list(each.depths) for each in m.exits] for bag, m in manifests.items()}
    told["about"] = (
        f"{remark + '. ' if remark else ''}Three members, {work_ms:.1f} ms of single-core work per input; accuracy on "
        f"the stream {accuracy['bag']:.1%}, best member {best:.1%}; the oracle's mean latency is {oracle:.2f} of the "
        f"full ensemble's; budget tuner, promised loss 1 %; {size.requests} requests per contender and load."
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "serving.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (output / "serving.md").write_text(serving_report.markdown(told, points, PLAIN), encoding="utf-8")
    (output / "serving_profile.txt").write_text(profile, encoding="utf-8")
    serving_report.draw_load(points, output / "serving_load.png")
    light = min(runs, key=lambda load: abs(load - 0.3))
    serving_report.draw_distribution(runs[light], output / "serving_cdf.png", f"latency at {light:.0%} load")
    serving_report.draw_exits(runs[light], list(CONTENDERS), difficulty, output / "serving_exits.png")
    say(f"wrote serving.md, serving.json and pictures to {output}")


if __name__ == "__main__":
    main()
