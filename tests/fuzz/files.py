"""Files that are read back, and mutations of them: what a full disk, a hand or an attacker makes of a file.

`python -m tests.fuzz.files --mutations 10000` tries that many of each kind and prints what came out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.deciding.heads import Head, Heads
from exeunt.errors import ExeuntError
from exeunt.hosting.control import Control, read_control, write_control
from exeunt.hosting.state import StateFile
from exeunt.hosting.status import Status, read_status, write_status
from exeunt.learning.files import HeadsFile, load_heads, save_heads
from exeunt.learning.kept_rows import load_rows, save_rows
from exeunt.learning.reservoir import Reservoir
from exeunt.learning.rows import ServedRows, half, logs_of
from exeunt.manifest import Manifest
from exeunt.records.parquet import FeedbackLog
from exeunt.records.record import About, read_record
from exeunt_export.bagfile.bagfile import BagFile
from tests.deciding.controller_bag import manifest
from tests.engine.nets import CLASSES, WIDTH, written
from tests.tuning.error_budget.world import tuner

PIECES = [b"[" * 3000, b"{", b"}", b'"', b"1e999", b"NaN", b"-1", b"9" * 5000, b"null", b"\x00", b"\xff\xfe", b"\n"]
SLOW_S = 10.0


@dataclass(frozen=True)
class Kind:
    """A kind of file: how a good one is written, and how it is read back."""

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], object]


def _state(folder: Path) -> Path:
    file = StateFile(folder, "0123456789abcdef")
    file.save(tuner().state(), tuner="budget", clean=True)
    return file.path


def _restore(path: Path) -> None:
    from exeunt.reading import reading

    loaded = StateFile(path.parent, path.stem).load("budget")
    if loaded is not None:
        with reading(path, "saved state"):
            tuner().restore(*loaded)


def _control(folder: Path) -> Path:
    path = folder / "a.control.json"
    write_control(path, Control(0.01, {"gold": 0.001}, (1, 2), 3))
    return path


def _status(folder: Path) -> Path:
    path = folder / "a.status.json"
    counts = ({"early": 1, "full": 2},) * 3
    status = Status("a", "ab", 1, 1.0, 2.0, "budget", 0.01, {}, (), (True,) * 3, (0.1, None, None), counts, {"x": 1.0})
    write_status(path, status)
    return path


def _manifest(folder: Path) -> Path:
    path = folder / "manifest.json"
    manifest().save(path)
    return path


def _record(folder: Path) -> Path:
    from exeunt.records.decided import DecidedRows
    from exeunt.records.feedback import Feedback

    log = FeedbackLog(folder, About.of(manifest()), flush_s=0.01)
    rng = np.random.default_rng(0)
    log.add(DecidedRows.of(Feedback.observed(rng.integers(0, 4, (20, 3)), rng.random((20, 3)))))
    log.close()
    (path,) = folder.glob("*.parquet")
    return path


def _bag_file(folder: Path) -> Path:
    path = folder / "bag.toml"
    path.write_text(
        'name = "fruit"\nlabels = ["a", "b"]\nsamples = "s.npy"\nmode = "engine"\nseed = 3\n\n[[member]]\nname = "m"\n'
        'file = "m.onnx"\nweight = 1.5\n\n[cuts]\nexits = 3\ngrid = [4, 2]\nramp_budget = 0.02\n\n[serving]\n'
        "max_batch_size = 8\ntop = 1\n\n[exit]\nmax_loss = 0.01\nservice_classes = { gold = 0.001 }\nmax_tickets = 4\n"
    )
    return path


def _learning_bag(folder: Path) -> Manifest:
    return written(folder, ((1,), (2,)))


def _heads(folder: Path) -> Path:
    bag = _learning_bag(folder)
    rng = np.random.default_rng(0)
    table = {(0, 1): Head(rng.normal(size=(WIDTH, CLASSES)).astype(np.float32), np.zeros(CLASSES, dtype=np.float32))}
    path = folder / "heads.npz"
    save_heads(path, HeadsFile(Heads(3, table), Heads(2, {}), 1), bag)
    return path


def _rows(folder: Path) -> Path:
    bag = _learning_bag(folder)
    rng = np.random.default_rng(0)
    votes = rng.dirichlet(np.ones(CLASSES), (5, 1)).astype(np.float32)
    features = {(0, 1): half(rng.normal(size=(5, WIDTH)).astype(np.float32))}
    labels, count = votes[:, 0].argmax(axis=1).astype(np.int32), np.arange(5, dtype=np.int64)
    path = folder / "rows.npz"
    save_rows(path, ServedRows(features, logs_of(votes), labels, np.ones(5, np.float32), count, count), bag, 10)
    return path


def _add_rows(path: Path) -> None:
    """Rows that are believed do no harm to who learns from them."""
    rows = load_rows(path, _learning_bag(path.parent), [(0, 1)], 10)
    if rows is not None:
        reservoir = Reservoir(8, 1 << 20, 10**12, CLASSES)
        reservoir.add(rows)
        reservoir.prune(20)


KINDS = (
    Kind("heads", _heads, lambda path: load_heads(path, _learning_bag(path.parent))),
    Kind("rows", _rows, _add_rows),
    Kind("state", _state, _restore),
    Kind("control", _control, read_control),
    Kind("status", _status, read_status),
    Kind("manifest", _manifest, lambda path: Manifest.load(path).content_hash),
    Kind("record", _record, read_record),
    Kind("bag file", _bag_file, BagFile.read),
)


def mutated_bytes(rng: np.random.Generator, content: bytes, pieces: Sequence[bytes] = PIECES) -> bytes:
    """Bytes cut off, flipped, doubled, taken out, with pieces put in or written over, or replaced by noise."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        a, b = sorted(int(place) for place in rng.integers(0, len(data) + 1, 2))
        choice = rng.integers(0, 7)
        if choice == 0:
            del data[a:]
        elif choice == 1 and data:
            data[min(a, len(data) - 1)] ^= int(rng.integers(1, 256))
        elif choice == 2:
            data[a:b] = data[a:b] * 2
        elif choice == 3:
            data[a:b] = b""
        elif choice == 4:
            data[a:a] = pieces[int(rng.integers(len(pieces)))]
        elif choice == 5:
            data[a : a + 4] = pieces[int(rng.integers(len(pieces)))]
        else:
            data[a:b] = rng.bytes(min(b - a, 64))
    return bytes(data)


def fuzz(kind: Kind, count: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Read `count` mutations of a good file.

    Returns:
        how often it was read, and how often refused by our own error.

    Raises:
        AssertionError: something else came out, or it took long; names seed and number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = kind.write(folder)
    good, outcomes = path.read_bytes(), Counter[str]()
    kind.read(path)
    rng = np.random.default_rng(seed)
    for number in range(count):
        content = mutated_bytes(rng, good)
        path.write_bytes(content)
        start_s = time.monotonic()
        try:
            kind.read(path)
            outcomes["read"] += 1
        except ExeuntError:
            outcomes["refused"] += 1
        except BaseException as error:
            raise AssertionError(f"{kind.name}, seed {seed}, mutation {number}: {error!r}") from error
        assert time.monotonic() - start_s < SLOW_S, f"{kind.name}, seed {seed}, mutation {number} took too long"
    return outcomes


def main() -> int:
    """Fuzz every kind."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.files")
    parser.add_argument("--mutations", type=int, default=10_000, help="of each kind of file (default: 10000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = fuzz(kind, args.mutations, Path(folder) / "f", args.seed)
        print(f"{kind.name}: {outcomes['read']} read, {outcomes['refused']} refused, nothing else")
    return 0


if __name__ == "__main__":
    sys.exit(main())
