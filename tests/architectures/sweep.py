"""Files that other people's exporters wrote: exported, held against onnxruntime, and counted.

    python -m tests.architectures.sweep FOLDER [FOLDER ...] [--json FILE]

For each ONNX file below a folder: random samples are made from what its inputs declare, it is exported as a bag of one
member, and the probabilities of its segments in sequence are compared with what onnxruntime says of the file itself.
A file is *right*, *refused* (a ConfigError), *wrong*, or a *crash* (any other error, or no end within some minutes).
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from exeunt.contract import PROBABILITIES
from exeunt.errors import ExeuntError
from exeunt_export.bagfile.bagfile import BagFile, BagMember, Cuts, Serving
from exeunt_export.cutting.chain import Chain
from exeunt_export.export_bag import export_bag

ROWS, MOST_BYTES, PATIENCE_S = 60, 120 << 20, 400
FREE = {"seq": 16, "sequence": 16, "tokens": 16, "length": 16}  # sizes of free dimensions by their names
_DTYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(int64)": "int64",
    "tensor(int32)": "int32", "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(bool)": "bool",
}  # fmt: skip


def samples(session: ort.InferenceSession) -> dict[str, np.ndarray]:
    """Random rows for every input; integers small, masks of ones."""
    rng = np.random.default_rng(0)
    table = {}
    for value in session.get_inputs():
        dims = [_size(dim) for dim in value.shape[1:]]
        dtype = np.dtype(_DTYPES.get(value.type, "float32"))
        rows = rng.normal(size=(ROWS, *dims)) if dtype.kind == "f" else rng.integers(0, 2, size=(ROWS, *dims))
        table[value.name] = (np.ones_like(rows) if "mask" in value.name else rows).astype(dtype)
    return table


def _size(dim: object) -> int:
    if isinstance(dim, int) and dim > 0:
        return dim
    return next((size for word, size in FREE.items() if word in str(dim).lower()), 32)


def raw(session: ort.InferenceSession, rows: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Every output of the file itself on all rows, in batches that it takes; lists of dictionaries as arrays."""
    first = session.get_inputs()[0].shape
    batch = first[0] if first and isinstance(first[0], int) and first[0] > 0 else 1
    parts = []
    for start in range(0, ROWS - ROWS % batch, batch):
        outputs = session.run(None, {name: row[start : start + batch] for name, row in rows.items()})
        parts.append([_array(value) for value in outputs])
    return [np.concatenate([part[k].reshape(batch, -1) for part in parts]) for k in range(len(parts[0]))]


def _array(value: object) -> np.ndarray:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return np.array([list(item.values()) for item in value])
    return np.asarray(value)


def readings(scores: np.ndarray) -> list[np.ndarray]:
    """What scores may mean as probabilities."""
    scores = scores.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        sigmoid = 1 / (1 + np.exp(-scores))
        probabilities = [scores, powers / powers.sum(axis=1, keepdims=True), np.exp(scores)]
    if scores.shape[1] == 1:
        probabilities += [np.concatenate([1 - one, one], axis=1) for one in (scores, sigmoid)]
    return probabilities


def judge(file: Path) -> tuple[str, str]:
    """(right, refused, wrong, crash or unusable; why) of one file."""
    if file.stat().st_size > MOST_BYTES:
        return "unusable", "too large for this sweep"
    try:
        session = ort.InferenceSession(file)
        rows = samples(session)
        expected = None
        expected = raw(session, rows)
    except Exception as error:
        why = f"onnxruntime: {' '.join(str(error).split())[:160]}"
        return _refused_too(file, why)
    with tempfile.TemporaryDirectory() as folder:
        bag = BagFile(
            where="the sweep",
            name="bag",
            members=(BagMember("m", file),),
            samples=None,
            mode="engine",
            cuts=Cuts(exits=2, max_cut_width=2, ramp_budget=100.0, times="counted"),
            serving=Serving(max_batch_size=2, baseline=False),
        )
        try:
            report = export_bag(bag, Path(folder) / "repository", samples=rows)
        except ExeuntError as error:
            return "refused", str(error).replace(str(file), file.name)[:300]
        segments = report.manifest.members[0].segments
        files = [report.output / "bag_exit" / "1" / f"{segment.model}.onnx" for segment in segments]
        feeds = dict(rows)
        if len(report.manifest.inputs) == 1:
            feeds = {report.manifest.inputs[0].name: next(iter(rows.values()))}
        answers = Chain("m", files).run(feeds)[-1][PROBABILITIES][: len(expected[0])]
    apart = [
        float(np.abs(reading - answers).max())
        for scores in expected
        for reading in (readings(scores) if scores.dtype.kind == "f" else [])
        if reading.shape == answers.shape
    ]
    best = min((value for value in apart if np.isfinite(value)), default=None)
    if best is None and not np.isfinite(answers).all():
        return "right", "not finite, as the file's own"
    return ("right", f"{len(files)} segments, {best:.0e}") if best is not None and best < 2e-3 else ("wrong", f"{best}")


def _refused_too(file: Path, why: str) -> tuple[str, str]:
    """A file that onnxruntime does not run on such samples: it must be refused, not crash."""
    from exeunt_export.readers.graph import load_member

    try:
        load_member("m", file, {"": np.zeros((ROWS, 4), np.float32)})
    except ExeuntError:
        return "refused", why
    return "unusable", why


def _judged(file: Path, ends: multiprocessing.connection.Connection) -> None:
    try:
        ends.send(judge(file))
    except Exception as error:
        ends.send(("crash", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"))


def sweep(files: list[Path]) -> list[tuple[Path, str, str]]:
    """Every file in a process of its own."""
    context = multiprocessing.get_context("fork")
    verdicts = []
    for file in files:
        ours, theirs = context.Pipe()
        process = context.Process(target=_judged, args=(file, theirs))
        process.start()
        theirs.close()
        try:
            verdict = ours.recv() if ours.poll(PATIENCE_S) else ("crash", f"no end within {PATIENCE_S} s")
        except EOFError:
            verdict = ("crash", "the process died")
        process.kill()
        process.join()
        verdicts.append((file, *verdict))
        print(f"{verdict[0]:<9} {file.parent.name}/{file.name}: {verdict[1]}", flush=True)
    return verdicts


def producer(file: Path) -> str:
    """Who wrote a file, by its own word."""
    try:
        model = onnx.load(file, load_external_data=False)
    except Exception:
        return "unreadable"
    return f"{model.producer_name or 'unnamed'} {model.producer_version}".strip()


def main() -> None:
    """Sweep folders, and print a line for each exporter."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    files = sorted({path for folder in args.folders for path in folder.rglob("*.onnx")})
    verdicts = sweep(files)
    counts: dict[str, collections.Counter[str]] = {}
    for file, verdict, _ in verdicts:
        counts.setdefault(producer(file), collections.Counter())[verdict] += 1
    for name, count in sorted(counts.items()):
        print(f"| {name} | {sum(count.values())} | {dict(count)} |")
    if args.json:
        table = [{"file": str(file), "by": producer(file), "verdict": v, "why": why} for file, v, why in verdicts]
        args.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    sys.exit(any(verdict in ("wrong", "crash") for _, verdict, _ in verdicts))


if __name__ == "__main__":
    main()
