"""What a GPU makes of a bag: members in series and side by side, whole and cut, exits off and on, batch 1 to 1000.

    python -m benchmarks.gpu                      CUDA where onnxruntime has it, else the CPU
    python -m benchmarks.gpu --provider tensorrt
    python -m benchmarks.gpu --repository DIR     a bag of your own, exported with mode = "engine" and its baseline

Needs exeunt[export], and onnxruntime-gpu in place of onnxruntime. The models run as in engine mode: one onnxruntime
session each, inputs and outputs in host memory. Weights are untrained: they do not change a time. The variants take
turns within each round; the medians over the rounds go to benchmarks/results/gpu.json and gpu.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from exeunt.contract import FEATURES, PROBABILITIES, features_name, member_model
from exeunt.engine.sessions import Session, sessions_of
from exeunt.errors import ConfigError
from exeunt.manifest import Member
from exeunt.serving.bags import bag_of
from exeunt.tables import markdown_table

RESULTS = Path(__file__).parent / "results"
PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}
SAMPLE_ROWS, CLASSES = 240, 36
Rows = Mapping[str, np.ndarray]


class Bag:
    """A bag's sessions, whole and cut, and the ways to run them.

    Args:
        repository: exported with mode "engine" and its baseline.
        providers: onnxruntime's, best first.
        threads: within one run, on the CPU.
    """

    def __init__(self, repository: Path, providers: Sequence[str], threads: int) -> None:
        bag = bag_of(repository)
        self.manifest = bag.manifest
        self.parts = sessions_of(self.manifest, bag.folder, threads, providers)
        names = [member_model(self.manifest.bag, member.name) for member in self.manifest.members]
        self.whole = [Session(repository / name / "1" / "model.onnx", threads, providers) for name in names]
        self._pool = ThreadPoolExecutor(len(self.whole))

    def series(self, rows: Rows) -> None:
        """Unsplit members, one after the other."""
        for session in self.whole:
            _run(session, rows)

    def parallel(self, rows: Rows) -> None:
        """Unsplit members side by side: the plain ensemble."""
        list(self._pool.map(lambda session: _run(session, rows), self.whole))

    def cut(self, rows: Rows) -> None:
        """Segments side by side, exits off."""
        list(self._pool.map(lambda member: self._chain(member, rows, lambda depth, features: None), self._members))

    def reached(self, rows: Rows) -> list[float]:
        """Seconds until the votes of each exit are there, with all exits on; the last is the full ensemble."""
        there: dict[tuple[str, int], np.ndarray | None] = {}
        changed = threading.Condition()

        def tell(member: Member) -> Callable[[int, np.ndarray | None], None]:
            def report(depth: int, features: np.ndarray | None) -> None:
                with changed:
                    there[member.name, depth] = features
                    changed.notify_all()

            return report

        start = time.perf_counter()
        running = [self._pool.submit(self._chain, member, rows, tell(member)) for member in self._members]
        times = []
        for exit_ in self.manifest.exits:
            pairs = [(m, d) for m, d in zip(self._members, exit_.depths, strict=True) if d]
            with changed:
                changed.wait_for(lambda pairs=pairs: all((m.name, d) in there for m, d in pairs))
            if exit_.heads:
                midway = {features_name(m.name, d): there[m.name, d] for m, d in pairs if d < m.depth}
                _run(self.parts[exit_.heads], midway)
            times.append(time.perf_counter() - start)
        for thread in running:
            thread.result()
        return times

    @property
    def _members(self) -> tuple[Member, ...]:
        return self.manifest.members

    def _chain(self, member: Member, rows: Rows, tell: Callable[[int, np.ndarray | None], None]) -> None:
        at_hand = dict(rows)
        for depth, segment in enumerate(member.segments, start=1):
            at_hand |= _run(self.parts[segment.model], at_hand)
            tell(depth, at_hand.get(FEATURES if depth < member.depth else PROBABILITIES))


def _run(session: Session, at_hand: Mapping[str, Any]) -> dict[str, np.ndarray]:
    outputs = list(session.outputs)
    arrays = session.run(outputs, {name: at_hand[name] for name in session.inputs})
    return dict(zip(outputs, arrays, strict=True))


def measure(bag: Bag, batches: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Median milliseconds of every variant by batch size."""
    rng = np.random.default_rng(0)
    results = []
    for batch in batches:
        rows = {tensor.name: rng.random((batch, *tensor.dims), dtype=np.float32) for tensor in bag.manifest.inputs}
        times: dict[str, list[float]] = {}
        for number in range(rounds + 1):
            for name, job in (("series", bag.series), ("parallel", bag.parallel), ("cut", bag.cut)):
                start = time.perf_counter()
                job(rows)
                times.setdefault(name, []).append(time.perf_counter() - start)
            for exit_, reached_s in enumerate(bag.reached(rows)):
                times.setdefault(f"exit {exit_}", []).append(reached_s)
            if number == 0:
                times.clear()  # the first round of a batch size builds and allocates
        fields_ = {name: float(np.median(times_s) * 1000) for name, times_s in times.items()}
        results.append({"batch": batch, "ms": fields_})
        print(f"batch {batch}: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in fields_.items()), flush=True)
    return results


def machine(providers: Sequence[str]) -> dict[str, Any]:
    """Where this ran, with versions."""
    import onnxruntime

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields_ = {
        "cpu": next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "providers": list(providers),
        "gpu": "none",
    }
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        fields_["gpu"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    return fields_


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """The results as a Markdown table."""
    names = list(results[0]["ms"])
    titles = ["members in series", "side by side", "cut, exits off", *(f"exit {n}" for n in range(len(names) - 4))]
    head = ["batch", *titles, "full ensemble, exits on", "series / side by side"]
    lines = []
    for result in results:
        ms = result["ms"]
        speedup = f"{ms['series'] / ms['parallel']:.2f}"
        lines.append([str(result["batch"]), *(f"{ms[name]:.2f}" for name in names), speedup])
    return markdown_table(head, lines)


def exported(folder: Path) -> Path:
    """The serving benchmark's nets, untrained, as a bag in engine mode."""
    from benchmarks.serving.glyph_nets import ARCHITECTURES, SIDE_PX
    from exeunt_export.torch_modules import export_modules

    members = {name: net(CLASSES) for name, net in ARCHITECTURES.items()}
    samples = np.random.default_rng(1).random((SAMPLE_ROWS, 1, SIDE_PX, SIDE_PX), dtype=np.float32)
    export_modules("nets", members, samples, folder / "repository", mode="engine")
    return folder / "repository"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, help="a bag of your own in place of the benchmark's")
    parser.add_argument("--provider", choices=PROVIDERS, help="cuda where onnxruntime has it, else cpu")
    parser.add_argument("--batches", default="1,8,64,256,1000", help="batch sizes (1,8,64,256,1000)")
    parser.add_argument("--rounds", type=int, default=20, help="turns per batch size (20)")
    parser.add_argument("--threads", type=int, default=1, help="threads within one run on the CPU (1)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of gpu.json and gpu.md")
    args = parser.parse_args(argv)
    import onnxruntime

    available = onnxruntime.get_available_providers()
    provider = args.provider or ("cuda" if PROVIDERS["cuda"][0] in available else "cpu")
    if PROVIDERS[provider][0] not in available:
        raise ConfigError(
            f"--provider {provider}: this onnxruntime has {', '.join(available)}; install onnxruntime-gpu"
        )
    with tempfile.TemporaryDirectory(prefix="exeunt-gpu-") as folder:
        repository = args.repository or exported(Path(folder))
        bag = Bag(repository, PROVIDERS[provider], args.threads)
        results = measure(bag, [int(batch) for batch in args.batches.split(",")], args.rounds)
    fields_ = {"machine": machine(PROVIDERS[provider]), "bag": bag.manifest.bag, "results": results}
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "gpu.json").write_text(json.dumps(fields_, indent=1) + "\n", encoding="utf-8")
    where = ", ".join(f"{key} {value}" for key, value in fields_["machine"].items())
    (args.output / "gpu.md").write_text(f"# A bag on {provider}\n\n{where}\n\n{table(results)}\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
