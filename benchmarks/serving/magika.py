"""Four releases of Magika asked what files are: the demo's own bag, at the benchmark's length."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.serving.bench_bag import BenchBag, BenchStream, Material, Say
from exeunt.demo.filetypes.corpus import gather
from exeunt.demo.filetypes.prepare import sample_rows, stream_of
from exeunt.demo.filetypes.wheels import fetch

ABOUT = (
    "Four published releases of Magika (Google, Apache-2.0) say what a file is, 214 classes. Files of Python's "
    "standard library, of published wheels and of this repository, at most 60 of a type; uploads are cut off after "
    "128 bytes to 8 KiB, a share of them that changes along the stream. Calibration and stream share no file."
)


def prepare(_folder: Path, cache: Path, say: Say) -> Material:
    """Fetch the wheels and gather the files."""
    say("fetch magika (60 MB, once) and read public files")
    models = fetch(cache / "magika")
    samples, test = gather(models.type_of, models.labels, seed=0)

    def stream(rows: int, seed: int) -> BenchStream:
        files = stream_of(test, rows, seed)
        return BenchStream(files.rows, files.broken.astype(np.float32), files.truth)

    return Material(models.models, sample_rows(samples, 0), models.labels, stream)


BAG = BenchBag("magika", ABOUT, prepare)
