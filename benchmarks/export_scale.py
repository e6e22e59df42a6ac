"""How long an export takes and how much memory it needs, by members, classes and exits; each case a process of its own.

    python benchmarks/export_scale.py

writes benchmarks/results/export_scale.md. Members are untrained residual CNNs on 8 x 8 noise, about 1 ms each: what is
measured is the export, not the members. With larger members, timing and running them come on top.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir

RESULTS = Path(__file__).parent / "results"
CASES = ((1, 10, 3), (24, 10, 3), (24, 1000, 3), (24, 10, 12))  # members, classes, exits
ROWS, SIDE, WIDTH, BLOCKS = 500, 8, 8, 12


def member(seed: int, classes: int) -> ir.Model:
    """Residual blocks with instance normalisation, then one linear layer; logits [rows, classes]."""
    rng = np.random.default_rng(seed)
    image = ir.Value(name="IMAGE", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", 1, SIDE, SIDE]))
    graph = ir.Graph([image], [], nodes=[], opset_imports={"": 18}, name="member")

    def constant(array: np.ndarray) -> ir.Value:
        name = f"weight_{len(graph.initializers)}"
        value = ir.Value(name=name, const_value=ir.tensor(array.astype(np.float32), name=name))
        graph.register_initializer(value)
        return value

    def node(op_type: str, *inputs: ir.Value, **attributes: int | list[int]) -> ir.Value:
        graph.append(ir.node(op_type, inputs, attributes=attributes))
        graph[-1].outputs[0].name = f"value_{len(graph)}"
        return graph[-1].outputs[0]

    one, zero, last = constant(np.ones(WIDTH)), constant(np.zeros(WIDTH)), image
    for number in range(BLOCKS + 1):
        before = WIDTH if number else 1
        kernel = constant(rng.normal(size=(WIDTH, before, 3, 3)) / np.sqrt(9 * before))
        made = node("Relu", node("InstanceNormalization", node("Conv", last, kernel, pads=[1] * 4), one, zero))
        last = node("Add", last, made) if number else made
    flat = node("Flatten", last, axis=1)
    scores = node("MatMul", flat, constant(rng.normal(size=(WIDTH * SIDE * SIDE, classes)) / SIDE))
    scores.type, scores.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["rows", classes])
    graph.outputs.append(scores)
    return ir.Model(graph, ir_version=10)


def measure(members: int, classes: int, exits: int) -> dict[str, float]:
    """Export one bag in this process."""
    from exeunt_export.export_bag import export_bag

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noise = np.random.default_rng(0).normal(size=(ROWS, 1, SIDE, SIDE)).astype(np.float32)
        np.save(folder / "samples.npy", noise)
        lines = ['name = "bag"', 'samples = "samples.npy"', 'mode = "engine"']
        for number in range(members):
            ir.save(member(number, classes), folder / f"m{number}.onnx")
            lines += ["[[member]]", f'name = "m{number}"', f'file = "m{number}.onnx"']
        lines += ["[cuts]", f"exits = {exits}", "ramp_budget = 100", "[serving]", "max_batch_size = 8"]
        (folder / "bag.toml").write_text("\n".join(lines), encoding="utf-8")
        before = _peak_mib()
        start = time.perf_counter()
        report = export_bag(folder / "bag.toml", folder / "repository")
        took = time.perf_counter() - start
        size = sum(path.stat().st_size for path in (folder / "repository").rglob("*") if path.is_file())
    stages = {f"{stage} s": round(seconds, 1) for stage, seconds in report.seconds.items()}
    table = {"cuts": len(report.cuts), "seconds": took, "peak MiB": _peak_mib(), "imports MiB": before}
    return table | {"repository MiB": size / 2**20} | stages


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Every case in a process of its own, so that peaks are its own."""
    rows = []
    for case in CASES:
        line = [sys.executable, __file__, *map(str, case)]
        table = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        rows.append((*case, table))
        print(case, table, flush=True)
    text = [
        "# Export: time and memory",
        f"`python benchmarks/export_scale.py` on {os.cpu_count()} cores ({platform.machine()}), not quiet "
        f"(other work may double a time); {ROWS} samples, members of about 1 ms. "
        "Peak memory includes what importing torch and onnxruntime takes.",
        "",
        "| members | classes | exits | cuts | seconds | for ramps | for timing | peak MiB | repository MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for members, classes, exits, table in rows:
        timing = table["time nodes s"] + table["plan s"] + table["profile s"]
        peak = f"{table['peak MiB']:.0f} ({table['imports MiB']:.0f} imports)"
        cells = [members, classes, exits, table["cuts"], f"{table['seconds']:.0f}", f"{table['train ramps s']:.0f}"]
        cells += [f"{timing:.0f}", peak, f"{table['repository MiB']:.1f}"]
        text.append(f"| {' | '.join(map(str, cells))} |")
    (RESULTS / "export_scale.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(*map(int, sys.argv[1:]))))
    else:
        main()
