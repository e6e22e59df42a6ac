"""From the wheels and this machine's public files to a repository: nothing is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt.demo.accuracies import accuracies
from exeunt.demo.filetypes.corpus import Corpus, encode, gather
from exeunt.demo.filetypes.wheels import FileModels
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest

BAG = "filetypes"
LEAST_KEPT_BYTES, MOST_KEPT_BYTES = 128, 8192  # of an upload that broke off
SAMPLES = 700
FEWEST_TYPES = 30
ACCURACY_ROWS = 300  # of the stream, on which the members are asked alone
STREAM_BROKEN = (0.0, 0.5, 0.1, 0.8, 0.2)  # share of truncated uploads along the stream: what users' drift looks like

BAG_FILE = """\
# The demo's bag, as anybody would write one: `exeunt export BAG.toml -o model_repository`
name = "{name}"
mode = "{mode}"
{schedule}labels = "labels.txt"
samples = "samples.npy"
{members}
[serving]
max_batch_size = 8
baseline = true  # the plain ensemble {name}_full and the members alone, to compare with

[exit]
max_loss = 0.01
confidence = "margin"
"""
MEMBER = '\n[[member]]\nname = "{name}"\nfile = "{name}.onnx"\n'


@dataclass(frozen=True, slots=True)
class FileStream:
    """What is asked: files and broken uploads.

    Attributes:
        rows: int32 [rows, 2048].
        truth: int64 [rows], type that the extension names.
        broken: float64 [rows], share of truncated uploads at that place of the stream.
    """

    rows: np.ndarray
    truth: np.ndarray
    broken: np.ndarray


@dataclass(frozen=True, slots=True)
class PreparedFiletypes:
    """A bag ready to be served.

    Attributes:
        repository: Triton model repository.
        manifest: of the bag in it.
        test: files that no sample came from.
        types: how many types of file there are among them.
        accuracies: member -> share of right labels on a part of the stream, and of their vote.
    """

    repository: Path
    manifest: Manifest
    test: Corpus
    types: int
    accuracies: dict[str, float]


def prepare(
    folder: Path, models: FileModels, mode: str, seed: int, progress: Callable[[str, int, int], None]
) -> PreparedFiletypes:
    """Gather files, write the bag file, export.

    Args:
        folder: gets `bag/` and `model_repository/`.
        models: what the wheels hold.
        mode: how the members run.
        seed: of everything.
        progress: takes (what, steps done, total).

    Raises:
        ConfigError: too few types of file lie here, or the export refused.
    """
    from exeunt_export.export_bag import export_bag

    samples, test = gather(models.type_of, models.labels, seed)
    types = len(set(samples.truth.tolist()) | set(test.truth.tolist()))
    if types < FEWEST_TYPES:
        raise ConfigError(f"{types} types of public files lie on this machine; the demo needs {FEWEST_TYPES}")
    bag = folder / "bag"
    bag.mkdir(parents=True, exist_ok=True)
    for member, path in models.models.items():
        shutil.copyfile(path, bag / f"{member}.onnx")
    (bag / "labels.txt").write_text("\n".join(models.labels) + "\n", encoding="utf-8")
    np.save(bag / "samples.npy", sample_rows(samples, seed))
    text = BAG_FILE.format(
        name=BAG,
        mode=mode,
        schedule='schedule = "auto"\n' if mode == "engine" else "",
        members="".join(MEMBER.format(name=member) for member in models.models),
    )
    (bag / "BAG.toml").write_text(text, encoding="utf-8")
    report = export_bag(bag / "BAG.toml", folder / "model_repository", force=True, progress=progress)
    part = stream_of(test, ACCURACY_ROWS, seed)
    progress("members alone", 0, 1)
    by_member = accuracies(models.models, part.rows, part.truth)
    progress("members alone", 1, 1)
    return PreparedFiletypes(folder / "model_repository", report.manifest, test, types, by_member)


def stream_of(test: Corpus, rows: int, seed: int) -> FileStream:
    """A stream of test files in random order, with more and less broken uploads along it."""
    rng = np.random.default_rng([seed, 1])
    places = np.concatenate([rng.permutation(len(test)) for _ in range(-(-rows // len(test)))])[:rows]
    stretch = np.minimum(np.arange(rows) * len(STREAM_BROKEN) // rows, len(STREAM_BROKEN) - 1)
    broken = np.array(STREAM_BROKEN)[stretch]
    encoded = [
        encode(_truncated(test.contents[place], rng)) if rng.random() < share else test.rows[place]
        for place, share in zip(places.tolist(), broken.tolist(), strict=True)
    ]
    return FileStream(np.stack(encoded), test.truth[places], broken)


def sample_rows(samples: Corpus, seed: int) -> np.ndarray:
    """Whole files, and as many broken uploads of them, in random order; at most SAMPLES."""
    rng = np.random.default_rng([seed, 2])
    cut = np.stack([encode(_truncated(content, rng)) for content in samples.contents])
    rows = np.concatenate([samples.rows, cut])
    return rows[rng.permutation(len(rows))[:SAMPLES]]


def _truncated(content: bytes, rng: np.random.Generator) -> bytes:
    size = int(np.exp(rng.uniform(np.log(LEAST_KEPT_BYTES), np.log(MOST_KEPT_BYTES))))
    return content[:size]
