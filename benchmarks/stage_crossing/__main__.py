"""Whether it pays to end stages of ensemble mode inside members.

    python -m benchmarks.stage_crossing

First what one more call costs, with the cut tensor out of one ensemble and into the next, for tensors of several sizes
between models that do next to nothing. Then a bag of EfficientNet-Lites, twice: with stages inside members and with
stages of whole members, in turns with the plain ensemble. Writes benchmarks/results/stage_crossing.md and .json;
--part crossing does the first alone, in a minute.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.__main__ import CACHE
from benchmarks.serving.export import bag_file_text
from benchmarks.serving.imagenet import NETS
from benchmarks.serving.machine import machine
from benchmarks.stage_crossing import kinds
from benchmarks.stage_crossing.compared import compared
from benchmarks.stage_crossing.crossing import measured
from benchmarks.stage_crossing.report import markdown
from exeunt_export.export_bag import export_bag

RESULTS = Path(__file__).parents[1] / "results"
CUTS_KB, ROWS = (1, 32, 128, 512), (1, 8, 32)
STREAM_ROWS = 400
MAX_LOSS = 0.02  # with 1 % some hundred calibration rows hardly let anybody leave inside a net


def exported(folder: Path, nets: Sequence[str]) -> tuple[Path, np.ndarray]:
    """(repository of the bag, rows of its stream); exported where it is not there yet."""
    folder = folder / "_".join(nets)
    folder.mkdir(parents=True, exist_ok=True)
    material = kinds.prepare(folder.absolute(), CACHE, print, nets)
    repository = folder / "repository"
    if not repository.exists():
        np.save(folder / "samples.npy", material.samples)
        (folder / "labels.txt").write_text("\n".join(material.labels) + "\n", encoding="utf-8")
        text = bag_file_text("kinds", "ensemble", "auto", 'labels = "labels.txt"', material, baseline=True)
        text = text.replace("max_batch_size = 64", "max_batch_size = 16")
        text = text.replace("max_loss = 0.01", f"max_loss = {MAX_LOSS}")
        (folder / "kinds.toml").write_text(text, encoding="utf-8")
        export_bag(folder / "kinds.toml", repository)
    return repository, material.stream(STREAM_ROWS, 11).inputs


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/stage_crossing"), help="of the bag")
    parser.add_argument("--nets", nargs="+", default=["lite0", "lite1"], choices=tuple(NETS), help="of the bag")
    parser.add_argument("--part", choices=("crossing", "all"), default="all")
    parser.add_argument("--turns", type=int, default=4, help="of each contender (4)")
    parser.add_argument("--turn-s", type=float, default=10.0, help="seconds of a turn (10)")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="folder of the report")
    args = parser.parse_args(argv)
    figures: dict[str, Any] = {"machine": machine(), "nets": args.nets, "turns": args.turns, "turn_s": args.turn_s}
    figures["crossing"] = [
        {
            "cut_kb": one.cut_kb,
            "rows": one.rows,
            "one_call_ms": float(np.median(one.whole_ms)),
            "extra_ms": one.extra_ms,
        }
        for one in measured(CUTS_KB, ROWS, rounds=4, turns=25)
    ]
    if args.part == "all":
        repository, rows = exported(args.folder, args.nets)
        with tempfile.TemporaryDirectory() as folder:
            figures["bag"] = compared(repository, Path(folder), rows, args.turns, args.turn_s)
    args.output.joinpath("stage_crossing.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    args.output.joinpath("stage_crossing.md").write_text(markdown(figures), encoding="utf-8")
    print(markdown(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
