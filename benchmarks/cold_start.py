"""Seconds from a process's start to the first full answer, by model size, with files in memory and without.

    python -m benchmarks.cold_start [--sizes 8,64,256,1024] [--times 3]

starts the container's command on the pip wheel's Triton over bags of two untrained members (linear layers of 4 MB) in
engine mode. *Cold* starts have asked the system to forget the files of repository, Triton, Python and packages before
(what other processes have mapped stays). Warm and cold take turns. Writes benchmarks/results/cold_start.md and .json.
With --state NAME the starts are added to those that are there: so two checkouts, each with this file, take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from benchmarks import export_nets
from benchmarks.cpu_time import cpu_time_s
from benchmarks.serving.machine import machine
from exeunt.errors import ServingError
from exeunt.serving.backends import assemble, environment, find_wheel
from exeunt.serving.launch import Ports, choose_ports
from exeunt.serving.probe import probe
from exeunt_export.export_bag import export_bag

RESULTS = Path(__file__).parent / "results"
LAYER_MB = 4
BAG = "dense"
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Start:
    """One start; times in seconds.

    Attributes:
        state: of the code, by name.
        size_mb: weights of the bag.
        baseline: whether the plain ensemble is served beside it.
        cache: "warm" or "cold".
        supervisor: our Python, up to Triton's start.
        triton: Triton's own, up to the exit controller's process.
        python: of that process, up to its model's start; then members (weights) and controller.
        members: see `python`.
        controller: see `python`.
        answer: all of it, up to the first full answer.
        cpu: of all processes together, up to there; less at the mercy of neighbours than the rest. None: not measured.
        read_mb: what the server's processes have read from disk.
    """

    state: str
    size_mb: int
    baseline: bool
    cache: str
    supervisor: float
    triton: float
    python: float
    members: float
    controller: float
    answer: float
    cpu: float | None
    read_mb: float


def bag(folder: Path, size_mb: int, baseline: bool) -> Path:
    """Export a bag whose members have so many MB of weights together, unless it is there; its repository."""
    if (folder / "repository").exists():
        return folder / "repository"
    folder.mkdir(parents=True)
    layers = max(1, size_mb // 2 // LAYER_MB)
    samples = np.random.default_rng(0).normal(size=(64, 1, export_nets.SIDE, export_nets.SIDE)).astype(np.float32)
    np.save(folder / "samples.npy", samples)
    lines = [f'name = "{BAG}"', 'samples = "samples.npy"', 'mode = "engine"']
    for number in range(2):
        ir.save(export_nets.dense(number, 10, layers), folder / f"m{number}.onnx")
        lines += ["[[member]]", f'name = "m{number}"', f'file = "m{number}.onnx"']
    lines += ["[cuts]", "exits = 3", "ramp_budget = 100", 'times = "counted"']
    lines += ["[serving]", "max_batch_size = 4", f"baseline = {str(baseline).lower()}"]
    (folder / "bag.toml").write_text("\n".join(lines), encoding="utf-8")
    return export_bag(folder / "bag.toml", folder / "repository").output


def forget(*folders: Path) -> None:
    """Ask the system to drop the files' pages."""
    os.sync()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with contextlib.suppress(OSError):
                    descriptor = os.open(path, os.O_RDONLY)
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(descriptor)


def start(repository: Path, kind: tuple[str, int, bool, str], folder: Path) -> Start:
    """Start the container's command, wait for the first full answer, stop it."""
    wheel, ports = find_wheel(), choose_ports(None, None, None)
    backends = assemble(folder / "backends", wheel)
    if kind[-1] == "cold":
        packages = Path(sysconfig.get_paths()["purelib"])
        forget(repository, wheel.home, backends, packages, Path(np.__file__).parents[1], Path(os.__file__).parent)
    log = folder / "log"
    begun_s = time.monotonic()
    with log.open("wb") as output:
        line = _line(repository, folder, ports, backends, wheel.binary)
        process = subprocess.Popen(line, env=os.environ | environment(wheel), stdout=output, stderr=output)
    try:
        seen_s = _first_seen(process.pid, ports.http, begun_s)
        cpu_s = sum(cpu_time_s(pid) for pid in descendants(process.pid))
        read_mb = sum(_read_bytes(pid) for pid in descendants(process.pid)) / 1e6
    finally:
        process.terminate()
        process.wait(60)
    parts = re.search(r"Python ([\d.]+) s, members ([\d.]+) s, controller ([\d.]+) s", log.read_text(errors="replace"))
    assert parts, log.read_text(errors="replace")[-2000:]
    python, members, controller = map(float, parts.groups())
    triton = seen_s["stub"] - seen_s["tritonserver"]
    times = (seen_s["tritonserver"], triton, python, members, controller, seen_s["answer"])
    return Start(*kind, *times, cpu_s, read_mb)


def _line(repository: Path, folder: Path, ports: Ports, backends: Path, binary: Path) -> list[str]:
    line = [sys.executable, "-m", "exeunt.serving.container", f"--repository={repository}", "--address=127.0.0.1"]
    line += [f"--state-dir={folder / 'state'}", f"--tritonserver={binary}", f"--backend-directory={backends}"]
    line += [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    return [*line, "--gpu-metrics=false"]


def _first_seen(supervisor: int, port: int, begun_s: float) -> dict[str, float]:
    """When Triton, the exit controller's process and the first full answer were first there."""
    seen_s: dict[str, float] = {}
    while "answer" not in seen_s:
        now_s = time.monotonic() - begun_s
        assert now_s < _PATIENCE_S, seen_s
        for pid in descendants(supervisor):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text()
                if "triton_python_backend_stub" in words and f"{BAG}_exit" in words:
                    seen_s.setdefault("stub", now_s)
                elif words.split("\0")[0].endswith("bin/tritonserver"):
                    seen_s.setdefault("tritonserver", now_s)
        if "stub" in seen_s and is_ready(port):
            with contextlib.suppress(ServingError):
                probe(f"127.0.0.1:{port}", BAG, 60.0)
                seen_s["answer"] = time.monotonic() - begun_s
        time.sleep(0.01)
    return seen_s


def is_ready(port: int) -> bool:
    """True if the server at a port of the loopback interface says that all its models are ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def post(port: int, model: str, body: bytes) -> bool:
    """Ask a model by HTTP; True if it answers with status 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", f"/v2/models/{model}/infer", body)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def descendants(pid: int) -> list[int]:
    """A process and all that it has started, directly or not."""
    pids = [pid]
    for parent in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
    return pids


def _read_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        match = re.search(r"^read_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
        return int(match[1]) if match else 0
    return 0


def markdown(starts: Sequence[Start], about: Mapping[str, object]) -> str:
    """Medians, for people."""
    lines = ["# Cold start: from the process's start to the first full answer", ""]
    lines += [f"`python -m benchmarks.cold_start`; {', '.join(f'{key} {value}' for key, value in about.items())}.", ""]
    lines += [
        "Two untrained members of linear layers, engine mode, medians. *plain*: with the plain ensemble NAME_full "
        "beside it (as exported by default), whose members are a process each. Seconds; the parts run one after the "
        "other. The rest of *answer* is Triton's other models, its way to ready, and the first inference.",
        "",
        "| weights MB | plain | files | code | answer | least | cpu | supervisor | Triton | Python | members "
        "| controller | MB from disk |",
        "|" + "---|" * 13,
    ]
    kinds = sorted({(one.size_mb, not one.baseline, one.cache == "cold", one.state == "after") for one in starts})
    for size_mb, alone, cold, after in kinds:
        same_kind = [
            one
            for one in starts
            if (one.size_mb, not one.baseline, one.cache == "cold", one.state == "after")
            == (size_mb, alone, cold, after)
        ]
        names = ("cpu", "supervisor", "triton", "python", "members", "controller")
        cells = [_median([getattr(one, name) for one in same_kind]) for name in ("answer", *names)]
        cells.insert(1, f"{min(one.answer for one in same_kind):.2f}")
        cells.append(f"{np.median([one.read_mb for one in same_kind]):.0f}")
        labels = (str(size_mb), "no" if alone else "yes", same_kind[0].cache, same_kind[0].state)
        lines.append(f"| {' | '.join((*labels, *cells))} |")
    return "\n".join(lines) + "\n"


def _median(values: Sequence[float | None]) -> str:
    times_s = [value for value in values if value is not None]
    return f"{np.median(times_s):.2f}" if times_s else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Do all of it, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="8,64,256,1024", help="MB of weights of a bag")
    parser.add_argument("--times", type=int, default=3, help="starts of each kind (3)")
    parser.add_argument("--plain", default="yes,no", help="with the plain ensemble, without")
    parser.add_argument("--bags", type=Path, help="folder that keeps the exported bags for the next call")
    parser.add_argument("--state", choices=("before", "after"), default="", help="of the code; adds to what is kept")
    parser.add_argument("--output", type=Path, default=RESULTS / "cold_start", help="without its ending")
    args = parser.parse_args(argv)
    json_file = args.output.with_suffix(".json")
    about, starts = machine(), []
    if args.state and json_file.exists():
        starts = [Start(**one) for one in json.loads(json_file.read_text())["starts"]]
    with tempfile.TemporaryDirectory() as folder:
        for size_mb in map(int, args.sizes.split(",")):
            for baseline in (plain == "yes" for plain in args.plain.split(",")):
                bag_folder = (args.bags or Path(folder)) / f"{size_mb}-{baseline}"
                repository = bag(bag_folder, size_mb, baseline)
                for number in range(args.times):
                    for cache in ("warm", "cold"):
                        place = Path(folder) / f"{size_mb}-{baseline}-{number}-{cache}"
                        place.mkdir()
                        starts.append(start(repository, (args.state or "after", size_mb, baseline, cache), place))
                        print(starts[-1], flush=True)
            table = {"machine": about, "starts": [asdict(one) for one in starts]}
            json_file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
            json_file.with_suffix(".md").write_text(markdown(starts, about), encoding="utf-8")
    print(markdown(starts, about))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
