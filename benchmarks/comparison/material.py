"""What the comparison is made of: two bags of three small CNNs each, and their votes on streams of images, cached.

    digits   scikit-learn's handwritten digits at 32 px, real images; difficulty is the noise on them
    glyphs   characters rendered from fonts, 36 classes; difficulty is clutter, turn, contrast and noise

Needs the `demo` extra. Votes are computed offline from the exported segments and heads, and kept as records, so that
`exeunt replay` reads them, too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from benchmarks.comparison.made_stream import made_stream
from benchmarks.comparison.scenarios import Scenario
from exeunt.contract import CALIBRATION_FILE, Reason, exit_model
from exeunt.deciding import votes
from exeunt.deciding.calibration import exits_of, load_calibration
from exeunt.manifest import Manifest
from exeunt.records.decided import DecidedRows
from exeunt.records.feedback import Feedback
from exeunt.records.record import About, read_record, record_name, table_of
from exeunt.replay.stream import VoteStream, recorded_stream

if TYPE_CHECKING:
    from torch import nn

DATA_SETS = ("digits", "glyphs")
GLYPH_TRAINING_ROWS = 3000
GLYPH_SAMPLES = 3000
SAMPLE_COPIES = 6  # noisy copies of each calibration digit among the sample inputs
RAMP_BUDGET = 0.3  # nets this small cannot keep the usual 2 %: starting the heads alone costs more
VERSION = 2  # of the streams; a change makes them anew
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Material:
    """One bag of the comparison.

    Attributes:
        name: of the data.
        folder: where its repository and streams are.
        manifest: of the bag.
        calibration: what tuners start from.
        draw: (level float [rows], classes int [rows], seed) -> images float32 [rows, 1, 32, 32] never trained on.
    """

    name: str
    folder: Path
    manifest: Manifest
    calibration: Feedback
    draw: Callable[[np.ndarray, np.ndarray, int], np.ndarray]

    @property
    def hard_class(self) -> int:
        """The class on which the first exit most often differs from the full vote, by the calibration rows."""
        full = self.calibration.full
        wrong = self.calibration.labels[:, 0] != full
        classes = np.arange(self.manifest.classes)
        return int(np.argmax([wrong[full == class_].mean() if (full == class_).any() else 0.0 for class_ in classes]))


def prepare(name: str, work: Path, say: Say) -> Material:
    """Train and export a bag, or find it in `work`.

    Args:
        name: one of DATA_SETS.
        work: folder for everything; reused by later calls.
        say: takes lines about what is being done.
    """
    from exeunt.serving.bags import bag_of

    folder = work / name
    repository = folder / "model_repository"
    draw = _draw_digits() if name == "digits" else _draw_glyphs
    if not repository.exists():
        say(f"{name}: train and export the bag")
        _export(name, repository, work / "weights")
    manifest = bag_of(repository, name).manifest
    calibration = load_calibration(repository / exit_model(name) / "1" / CALIBRATION_FILE, manifest)
    return Material(name, folder, manifest, calibration, draw)


def stream_of(material: Material, scenario: Scenario, seed: int, say: Say) -> VoteStream:
    """The votes of a bag on one stream, from the cache where they are there.

    Args:
        material: the bag.
        scenario: difficulty and classes of the rows.
        seed: of images, noise and arrivals.
        say: takes a line if they have to be computed.
    """
    label = f"{scenario.name}, seed {seed}"
    folder = records_folder(material, scenario, seed)
    if not folder.exists():
        say(f"{material.name}: votes on {len(scenario.level)} images, {label}")
        write_stream(_vote_stream(material, scenario, seed), material.manifest, folder)
    stream = recorded_stream(read_record(folder), f"{material.name}: {label}")
    return dataclasses.replace(stream, recorded=False, settings=None)


def records_folder(material: Material, scenario: Scenario, seed: int) -> Path:
    """Where a stream's votes are kept."""
    slug = f"{scenario.name.replace(' ', '-')}-{len(scenario.level)}-seed{seed}-v{VERSION}"
    return material.folder / "records" / f"{material.manifest.content_hash}-{slug}"


def _vote_stream(material: Material, scenario: Scenario, seed: int) -> VoteStream:
    from benchmarks.offline_votes import depth_probabilities

    manifest = material.manifest
    images = material.draw(scenario.level, scenario.classes, seed)
    probabilities = depth_probabilities(material.folder / "model_repository", manifest, images)
    feedback = exits_of(probabilities, manifest)
    by_pair = {
        (m, d): probabilities[f"{member.name}.{d}"]
        for m, member in enumerate(manifest.members)
        for d in {exit_.depths[m] for exit_ in manifest.exits} - {0}
    }
    return made_stream("", feedback.labels, feedback.confidence, certain_from(manifest, by_pair), seed=seed)


def certain_from(manifest: Manifest, probabilities: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    """First exit at which the lossless stop holds, the last where none does; int32 [rows].

    Args:
        manifest: of the bag.
        probabilities: (member, depth) -> float32 [rows, classes], every pair that votes.
    """
    last = len(manifest.exits) - 1
    first = np.full(len(next(iter(probabilities.values()))), last, dtype=np.int32)
    for exit_ in range(last - 1, -1, -1):
        parts = votes.ExitVoters(manifest, exit_)
        if parts.finished:
            finished_votes = [probabilities[pair] for pair in parts.finished]
            first[votes.cannot_change(finished_votes, parts.finished_weights, parts.missing, manifest.vote)] = exit_
    return first


def write_stream(stream: VoteStream, manifest: Manifest, folder: Path) -> None:
    """Record a made stream as a server would that offers every exit and lets rows leave only without risk."""
    import pyarrow.parquet as pq

    last = stream.exits - 1
    lossless = stream.certain < last
    rows = dataclasses.replace(
        stream.rows, exit=stream.certain, reason=np.where(lossless, Reason.LOSSLESS, Reason.FULL).astype(np.int8)
    )
    table = table_of(DecidedRows.of(rows), About.of(manifest), first=0, run_unix_us=0, recorded_unix_us=0)
    aside = folder.with_suffix(".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    pq.write_table(table, aside / record_name(manifest.content_hash, 0), compression="zstd")
    aside.rename(folder)


def _export(name: str, repository: Path, weights: Path) -> None:
    from benchmarks import glyph_images as glyphs
    from benchmarks.small_nets.train import trained_bag
    from exeunt.demo import data
    from exeunt_export.bagfile.bagfile import Cuts, Serving
    from exeunt_export.torch_modules import export_modules

    if name == "digits":
        parts = data.digits()
        modules = trained_bag(parts.train, weights, seed=0)
        samples, labels = data.samples(parts.calibration, SAMPLE_COPIES, seed=0), data.CLASSES
    else:
        modules, labels = _trained_on_glyphs(weights), glyphs.CLASSES
        samples = _draw_glyphs(np.random.default_rng(2).random(GLYPH_SAMPLES), np.full(GLYPH_SAMPLES, -1), 2)
    export_modules(
        name,
        modules,
        samples,
        repository,
        labels=labels,
        cuts=Cuts(exits=3, ramp_budget=RAMP_BUDGET),
        serving=Serving(baseline=False),
    )


def _trained_on_glyphs(weights: Path) -> dict[str, nn.Module]:
    """The small nets with an output per glyph class, each trained on its own bootstrap sample."""
    import torch

    from benchmarks import glyph_images as glyphs
    from benchmarks.small_nets import architectures, train
    from exeunt.demo import data

    level = np.random.default_rng(1).random(GLYPH_TRAINING_ROWS)
    part = glyphs.glyphs(GLYPH_TRAINING_ROWS, seed=1, difficulty=level)
    weights.mkdir(parents=True, exist_ok=True)

    def trained(name: str, number: int) -> nn.Module:
        module = untrained_nets[name]
        path = weights / f"glyphs-{name}-{_key(module)}.pt"
        if path.exists():
            module.load_state_dict(torch.load(path, weights_only=True))
            return module.eval()
        train.train(module, data.bootstrap(part, number), number)
        torch.save(module.state_dict(), path)
        return module

    untrained_nets = {name: _for_glyphs(name, number) for number, name in enumerate(architectures.ARCHITECTURES)}
    torch.set_num_threads(1)  # nets this small gain nothing from more; side by side they do
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(untrained_nets, pool.map(trained, untrained_nets, range(len(untrained_nets))), strict=True))


def _for_glyphs(name: str, seed: int) -> nn.Module:
    """One of the small nets, untrained, its last layer replaced."""
    import torch
    from torch import nn

    from benchmarks import glyph_images as glyphs
    from benchmarks.small_nets import architectures

    torch.manual_seed(seed)
    module = architectures.ARCHITECTURES[name]()
    classify = cast(nn.Sequential, list(module.children())[-1])
    classify[-1] = nn.Linear(cast(nn.Linear, classify[-1]).in_features, len(glyphs.CLASSES))
    return module


def _key(module: nn.Module) -> str:
    """Of what trained weights depend on: a change of architecture or schedule trains anew."""
    from benchmarks.small_nets import train

    items = (VERSION, GLYPH_TRAINING_ROWS, train.EPOCHS, train.BATCH_ROWS, train.PEAK_RATE, repr(module))
    return hashlib.sha256(repr(items).encode()).hexdigest()[:12]


def _draw_digits() -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
    from exeunt.demo import data

    test = data.digits().test

    def draw(level: np.ndarray, classes: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        image_rows = rng.integers(0, len(test), len(level))
        for label in np.unique(classes[classes >= 0]):
            here = np.flatnonzero(classes == label)
            image_rows[here] = rng.choice(np.flatnonzero(test.labels == label), len(here))
        return data.with_noise(test.images[image_rows], level, rng)

    return draw


def _draw_glyphs(level: np.ndarray, classes: np.ndarray, seed: int) -> np.ndarray:
    from benchmarks.glyph_images import glyphs

    return glyphs(len(level), seed=1000 + seed, difficulty=level, classes=classes).images
