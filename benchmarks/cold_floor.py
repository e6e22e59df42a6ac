"""How near a small bag's cold start is to the least that Triton, Python, numpy and onnxruntime take without us.

    python -m benchmarks.cold_floor [--times 10]

Two contenders take turns, files in memory: *exeunt*, the container's command over the bag of `benchmarks.cold_start`;
and *by hand*, tritonserver itself over one Python model of twenty lines, which opens the same two members with
onnxruntime and averages their answers. It promises nothing, drains nothing, watches nothing. Seconds from the start of
the process to the first full answer. Writes benchmarks/results/cold_floor.md and .json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import cold_start, export_nets
from benchmarks.cpu_time import cpu_time_s
from benchmarks.serving.machine import machine
from exeunt.serving import launch
from exeunt.serving.backends import assemble, environment, find_wheel

SIZE_MB = 8
NAME = "by_hand"
MODEL = """
import numpy
import onnxruntime
import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.members = [onnxruntime.InferenceSession(file, options) for file in {files}]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        rows = utils.get_input_tensor_by_name(request, "x").as_numpy()
        scores = [member.run(None, {{member.get_inputs()[0].name: rows}})[0] for member in self.members]
        return utils.InferenceResponse([utils.Tensor("scores", numpy.mean(scores, axis=0))])
"""
CONFIG = """
backend: "python"
max_batch_size: 4
input {{ name: "x" data_type: TYPE_FP32 dims: [1, {side}, {side}] }}
output {{ name: "scores" data_type: TYPE_FP32 dims: [-1] }}
instance_group {{ kind: KIND_CPU count: 1 }}
"""


@dataclass(frozen=True)
class Start:
    """One start, in seconds.

    Attributes:
        contender: "exeunt" or "by hand".
        answer_s: up to the first full answer.
        cpu_s: what all its processes took of a core up to there.
    """

    contender: str
    answer_s: float
    cpu_s: float


def by_hand(repository: Path, folder: Path) -> Start:
    """Start tritonserver over the model of twenty lines, wait for its answer, end it."""
    wheel, ports = find_wheel(), launch.choose_ports(None, None, None)
    backends = assemble(folder / "backends", wheel)
    line = launch.command(wheel.binary, name=NAME, repository=repository, backends=backends, ports=ports, max_tickets=4)
    variables = environment(wheel)
    rows = np.zeros((1, 1, export_nets.SIDE, export_nets.SIDE), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    begun_s = time.monotonic()
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(line, env=variables, stdout=output, stderr=output)
    try:
        while not cold_start.is_ready(ports.http) or not cold_start.post(ports.http, NAME, body):
            assert process.poll() is None, (folder / "log").read_text(errors="replace")[-2000:]
            time.sleep(0.01)
        answer_s = time.monotonic() - begun_s
        cpu_s = sum(cpu_time_s(pid) for pid in cold_start.descendants(process.pid))
    finally:
        process.terminate()
        process.wait(60)
    return Start("by hand", answer_s, cpu_s)


def write_model(bag: Path, folder: Path) -> Path:
    """Write the repository of the model of twenty lines over the members of a bag's folder."""
    files = sorted(str(path) for path in bag.glob("m*.onnx"))
    (folder / NAME / "1").mkdir(parents=True)
    (folder / NAME / "1" / "model.py").write_text(MODEL.format(files=files), encoding="utf-8")
    (folder / NAME / "config.pbtxt").write_text(CONFIG.format(side=export_nets.SIDE), encoding="utf-8")
    return folder


def markdown(starts: Sequence[Start], about: dict[str, object]) -> str:
    """Medians and ratios, for people."""
    lines = ["# The least that a start takes", ""]
    lines += [f"`python -m benchmarks.cold_floor`; {', '.join(f'{key} {value}' for key, value in about.items())}.", ""]
    lines += [f"Bag of {SIZE_MB} MB, engine mode, files in memory, {len(starts) // 2} starts of each, in turns.", ""]
    lines += ["| | answer s | least s | cpu s | cpu, least s |", "|" + "---|" * 5]
    medians = {}
    for contender in ("by hand", "exeunt"):
        answers_s = [start.answer_s for start in starts if start.contender == contender]
        cpus_s = [start.cpu_s for start in starts if start.contender == contender]
        medians[contender] = np.median(answers_s), np.median(cpus_s)
        cells = [medians[contender][0], min(answers_s), medians[contender][1], min(cpus_s)]
        lines.append(f"| {contender} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    answer_ratio, cpu_ratio = (ours / least for ours, least in zip(medians["exeunt"], medians["by hand"], strict=True))
    lines += ["", f"exeunt takes {answer_ratio:.2f} times the seconds, {cpu_ratio:.2f} times the seconds of a core."]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Start both in turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="starts of each contender (10)")
    parser.add_argument("--output", type=Path, default=cold_start.RESULTS / "cold_floor", help="without its ending")
    args = parser.parse_args(argv)
    starts: list[Start] = []
    about = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = cold_start.bag(folder / "bag", SIZE_MB, baseline=False)
        model = write_model(folder / "bag", folder / "model")
        for number in range(args.times):
            (folder / f"hand{number}").mkdir()
            starts.append(by_hand(model, folder / f"hand{number}"))
            (folder / f"ours{number}").mkdir()
            ours = cold_start.start(repository, ("after", SIZE_MB, False, "warm"), folder / f"ours{number}")
            starts.append(Start("exeunt", ours.answer, ours.cpu or 0.0))
            print(starts[-2], starts[-1], flush=True)
    table = {"machine": about, "starts": [asdict(start) for start in starts]}
    args.output.with_suffix(".json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    args.output.with_suffix(".md").write_text(markdown(starts, about), encoding="utf-8")
    print(markdown(starts, about))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
