"""Files that are public by nature, as rows for the models: the standard library, installed packages, this repository.

Symbolic links are not followed, and of a file's content only the 2048 numbers that the models take are kept, in memory.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK_BYTES = 4096  # of a file's head and tail, that are looked at
SIDE = 1024  # numbers from the beginning, and as many from the end
PADDING = 256
LEAST_BYTES, MOST_BYTES = 64, 8 * 2**20
PER_TYPE = 60  # most files of one type, for half of them each
# packages of the demo's own installation, whose files RECORD lists
PACKAGES = (
    *("numpy", "matplotlib", "scikit-learn", "scipy", "torch", "onnx", "onnxruntime", "onnxscript", "pyarrow"),
    *("nvidia-pytriton", "tritonclient", "grpcio", "protobuf", "rich", "docker", "pillow", "fonttools", "sympy"),
    *("networkx", "jinja2", "pip", "gevent", "aiohttp", "geventhttpclient", "transformers", "onnx-ir", "joblib"),
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Encoded files.

    Attributes:
        rows: int32 [files, 2048].
        truth: int64 [files], index of the type that the extension names.
        contents: head and tail of each file, to truncate it as an upload that broke off.
    """

    rows: np.ndarray
    truth: np.ndarray
    contents: tuple[bytes, ...]

    def __len__(self) -> int:
        """Number of files."""
        return len(self.truth)


def encode(content: bytes) -> np.ndarray:
    """A file as the models take it, int32 [2048].

    The head without leading white space, padded on its right, then the tail without trailing white space, padded on its
    left; 256 stands for padding (Magika's features of version 2).
    """
    head = content[:BLOCK_BYTES].lstrip()[:SIDE]
    tail = content[-BLOCK_BYTES:].rstrip()[-SIDE:]
    row = np.full(2 * SIDE, PADDING, dtype=np.int32)
    row[: len(head)] = np.frombuffer(head, dtype=np.uint8)
    if tail:
        row[-len(tail) :] = np.frombuffer(tail, dtype=np.uint8)
    return row


def gather(type_of: Mapping[str, str], labels: tuple[str, ...], seed: int) -> tuple[Corpus, Corpus]:
    """Public files of this machine, in two halves that share no content: to calibrate, and to stream.

    Args:
        type_of: extension -> type.
        labels: names of the types, by class.
        seed: of which files are taken where there are many of a type.
    """
    index = {name: number for number, name in enumerate(labels)}
    by_type: dict[int, list[Path]] = {}
    for path in sorted(set(_public_files())):
        number = index.get(type_of.get(path.suffix[1:].lower(), ""))
        if number is not None:
            by_type.setdefault(number, []).append(path)
    rng = np.random.default_rng(seed)
    halves: tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]] = ([], [])
    digests: set[bytes] = set()
    for number, paths in sorted(by_type.items()):
        count = 0
        for place in rng.permutation(len(paths)):
            content = _content(paths[place])
            digest = hashlib.sha256(content).digest() if content else b""
            if not content or digest in digests:  # the same licence lies in many packages
                continue
            digests.add(digest)
            halves[count % 2].append((number, content))
            count += 1
            if count == 2 * PER_TYPE:
                break
    return _corpus(halves[0], rng), _corpus(halves[1], rng)


def _corpus(files: list[tuple[int, bytes]], rng: np.random.Generator) -> Corpus:
    order = rng.permutation(len(files))
    contents = tuple(files[place][1] for place in order)
    truth = np.array([files[place][0] for place in order], dtype=np.int64)
    return Corpus(np.stack([encode(content) for content in contents]), truth, contents)


def _content(path: Path) -> bytes:
    """Head and tail of a file; empty where it is too small, too large, a link, or cannot be read."""
    try:
        if path.is_symlink() or not path.is_file() or not LEAST_BYTES <= path.stat().st_size <= MOST_BYTES:
            return b""
        with path.open("rb") as file:
            head = file.read(BLOCK_BYTES)
            if path.stat().st_size <= 2 * BLOCK_BYTES:
                return head + file.read()
            file.seek(-BLOCK_BYTES, 2)
            return head + file.read()
    except OSError:
        return b""


def _public_files() -> Iterator[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    for path in library.rglob("*"):
        if not {"site-packages", "dist-packages"} & set(path.parts):
            yield path
    for name in PACKAGES:
        try:
            files = importlib.metadata.files(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        yield from (Path(str(file.locate())) for file in files)
    yield from _tracked_files()


def _tracked_files() -> Iterator[Path]:
    """This repository's files, where exeunt runs from a checkout."""
    root = Path(__file__).parents[3]
    try:
        listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=False)
    except OSError:
        return
    if listed.returncode == 0 and (root / "pyproject.toml").is_file():
        yield from (root / name for name in listed.stdout.decode(errors="replace").split("\0") if name)
