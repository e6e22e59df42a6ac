"""What cutting into four segments costs a member, in one process: interleaved with the unsplit member.

    python -m benchmarks.cutting [--side 160] [NAME ...]

writes benchmarks/results/cutting.md. Networks at their published widths with random weights, one row, one thread. "cut"
is the segments alone, "with pooling" also makes the features that ramps read. Target: at most 5 % where a member takes
5 ms and more.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
import onnxruntime as ort
import torch
from torch import nn

from benchmarks.serving.machine import machine
from exeunt.contract import FEATURES
from exeunt.tables import markdown_table
from exeunt_export import nodecosts, onnxfiles
from exeunt_export.bagfile.bagfile import Cuts
from exeunt_export.cutting.cuts import Boundary, boundaries, candidates
from exeunt_export.cutting.split import SegmentGraph, make_cut, split
from exeunt_export.planning import align
from exeunt_export.readers.graph import load_member
from exeunt_export.torch_modules import save_module
from tests.architectures import attention as attention
from tests.architectures import cnn as cnn
from tests.architectures import mobile as mobile

RESULTS = Path(__file__).parent / "results"
CLASSES, SEGMENTS, ROUNDS = 1000, 4, 40
LEAST_MS, TARGET = 5.0, 0.05
MOST_WIDTH, LEAST_APART = 2, 0.1  # tensors of a cut; share of the member between two cuts
NETS: dict[str, Callable[[int], nn.Module]] = {  # by side of the image
    "mobilenet_v2": lambda side: mobile.mobilenet_v2(1, CLASSES),
    "efficientnet_b0": lambda side: mobile.efficientnet_b0(1, CLASSES),
    "resnet18": lambda side: cnn.resnet(cnn.Basic, (2, 2, 2, 2), 64, CLASSES),
    "resnet50": lambda side: cnn.resnet(cnn.Bottleneck, (3, 4, 6, 3), 64, CLASSES),
    "densenet121": lambda side: cnn.densenet121(32, CLASSES),
    "nasnet_mobile": lambda side: mobile.NasNet(44, 4, CLASSES),
    "convnext_tiny": lambda side: attention.convnext_tiny(96, CLASSES),
    "vit_s16": lambda side: attention.ViT(384, side, 16, CLASSES),
}
Row = dict[str, np.ndarray]


def pieces_of(name: str, net: nn.Module, row: Row, folder: Path) -> tuple[ir.Model, tuple[SegmentGraph, ...]]:
    """The member's graph as the export runs it, and its segments."""
    samples = {key: np.repeat(array, 4, axis=0) for key, array in row.items()}
    save_module(net.eval(), {key: array[:2] for key, array in samples.items()}, folder / "member.onnx")
    member = load_member(name, folder / "member.onnx", samples)
    cut_boundaries = chosen_cuts(boundaries(member, nodecosts.measure(member.model, samples, name)))
    cuts = [make_cut(member, boundary, CLASSES, Cuts().grid) for boundary in cut_boundaries]
    return member.model, split(member, cuts).pieces


def chosen_cuts(boundaries: Sequence[Boundary]) -> tuple[Boundary, ...]:
    """As many as `SEGMENTS` asks for, at least a tenth of the member apart, near to equal shares and small."""
    places: dict[int, Boundary] = {}
    for candidate in candidates(list(boundaries), MOST_WIDTH):  # the cheapest in each fiftieth
        at = int(50 * candidate.share)
        places[at] = min(places.get(at, candidate), candidate, key=align.price_steps)
    even_shares = [number / SEGMENTS for number in range(1, SEGMENTS)]

    def off(cuts: tuple[Boundary, ...]) -> float:
        steps = sum(SEGMENTS * abs(cut.share - share) for cut, share in zip(cuts, even_shares, strict=True))
        return steps + sum(align.price_steps(cut) for cut in cuts)

    apart = (
        cuts
        for cuts in itertools.combinations(sorted(places.values(), key=lambda item: item.share), len(even_shares))
        if all(later.share - cut.share >= LEAST_APART for cut, later in itertools.pairwise(cuts))
    )
    return min(apart, key=off)


def without_features(piece: SegmentGraph) -> ir.Model:
    """A segment that does not pool."""
    model = piece.model.clone()
    outputs = [output for output in model.graph.outputs if output.name != FEATURES]
    model.graph.outputs[:] = outputs
    passes.RemoveUnusedNodesPass()(model)
    return model


def opened(models: Sequence[ir.Model], folder: Path) -> list[ort.InferenceSession]:
    """Sessions on one thread."""
    folder.mkdir()
    for number, model in enumerate(models):
        onnxfiles.save(model, folder / f"{number}.onnx")
    return [onnxfiles.open_session(folder / f"{number}.onnx") for number in range(len(models))]


def run(sessions: Sequence[ort.InferenceSession], row: Row) -> None:
    """One row through a chain."""
    at_hand = dict(row)
    for session in sessions:
        names = [output.name for output in session.get_outputs()]
        feed = {input_.name: at_hand[input_.name] for input_ in session.get_inputs()}
        at_hand.update(zip(names, session.run(names, feed), strict=True))


def measure(name: str, side: int) -> dict[str, float | int | str]:
    """Time the three by turns, CPU time: waiting for a shared core does not count."""
    torch.manual_seed(0)
    row = {"image": np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        whole, pieces = pieces_of(name, NETS[name](side), row, Path(folder))
        chains = {
            "whole": opened([whole], Path(folder) / "whole"),
            "cut": opened([without_features(piece) for piece in pieces], Path(folder) / "cut"),
            "pooled": opened([piece.model for piece in pieces], Path(folder) / "pooled"),
        }
        spent_ms: dict[str, list[float]] = {key: [] for key in chains}
        for turn in range(-3, ROUNDS):
            keys = list(chains) if turn % 2 else list(reversed(chains))
            for key in keys:
                began_s = time.thread_time()
                run(chains[key], row)
                if turn >= 0:
                    spent_ms[key].append(1e3 * (time.thread_time() - began_s))
    base = np.array(spent_ms["whole"])
    table: dict[str, float | int | str] = {"name": name, "segments": len(pieces), "ms": float(np.median(base))}
    return table | {key: float(np.median(np.array(spent_ms[key]) / base)) for key in ("cut", "pooled")}


def markdown(rows: Sequence[dict[str, float | int | str]], side: int) -> str:
    """The report."""
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    lines = ["# What cutting costs", "", f"{(__doc__ or '').splitlines()[0]} Images of {side} px; {where}.", ""]
    cells = []
    for row in rows:
        cut, pooled, ms = float(row["cut"]) - 1.0, float(row["pooled"]) - 1.0, float(row["ms"])
        verdict = "(under 5 ms)" if ms < LEAST_MS else "yes" if cut <= TARGET else "**no**"
        cells.append((str(row["name"]), f"{ms:.1f}", str(row["segments"]), f"{cut:+.1%}", f"{pooled:+.1%}", verdict))
    table = markdown_table(("member", "ms", "segments", "cut", "with pooling", "at most 5 %"), cells)
    return "\n".join([*lines, table]) + "\n"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETS)} (all)")
    parser.add_argument("--side", type=int, default=160, help="of the images, pixels (160)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    items = []
    for name in args.names or NETS:
        items.append(measure(name, args.side))
        print(items[-1], flush=True)
    text = markdown(items, args.side)
    if not args.names:
        (RESULTS / "cutting.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
