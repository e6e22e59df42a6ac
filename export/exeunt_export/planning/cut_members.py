"""Cutting a bag's members as planned: segments written, verified, and run on the samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exeunt import contract
from exeunt.cores import usable_cores
from exeunt_export import nodecosts, onnxfiles
from exeunt_export.cutting.chain import Chain
from exeunt_export.cutting.split import SegmentGraph, split
from exeunt_export.cutting.verify import verify, verify_labels
from exeunt_export.export_progress import Stages
from exeunt_export.planning.opening import OpenedBag
from exeunt_export.planning.plan import ExitPlan, MeasuredMember
from exeunt_export.readers import integers

_MOST_ROWS = 64  # at a time when the samples are run
_MOST_BYTES = 1 << 25  # of one batch of a member's widest tensor: beyond the caches larger batches are slower


@dataclass(frozen=True, slots=True)
class CutMember:
    """A member in segments, and what they say about the samples.

    Attributes:
        pieces: the segments' inputs and outputs.
        models: Triton names of the segments.
        files: their ONNX files.
        chain: the segments, ready to run.
        features: of each cut, float32 [rows, f], mapped from a file in the folder of work.
        probabilities: float32 [rows, classes], mapped too.
        difference: from the unsplit member.
    """

    pieces: tuple[SegmentGraph, ...]
    models: tuple[str, ...]
    files: tuple[Path, ...]
    chain: Chain
    features: list[np.ndarray]
    probabilities: np.ndarray
    difference: float


def cut_members(opened: OpenedBag, plan: ExitPlan, work: Path, stages: Stages) -> list[CutMember]:
    """Split every member at its planned cuts, verify the segments, and run them on all samples.

    The folder `work` is empty and gets the segments' files.

    Raises:
        ServingError: segments in sequence differ from their member.
    """
    cut: list[CutMember] = []
    stages.at("cut and verify", 0, len(opened.members))
    for number in range(len(opened.members)):
        cut.append(_cut_member(opened, plan, number, work))
        stages.at("cut and verify", len(cut), len(opened.members))
    return cut


def _batch(measured: MeasuredMember) -> int:
    """Rows to run at a time: so many that a batch of the widest tensor stays small."""
    widest = max((nodecosts.row_bytes(tensor) for tensor in measured.costs.tensors.values()), default=1)
    return max(1, min(_MOST_ROWS, _MOST_BYTES // widest))


def _cut_member(opened: OpenedBag, plan: ExitPlan, number: int, work: Path) -> CutMember:
    bag, member = opened.bag, opened.members[number].member
    rows = opened.rows_of(member)
    parts = split(member, plan.cuts[number])
    models = tuple(contract.segment_model(bag.name, member.name, d) for d in range(1, len(parts.pieces) + 1))
    files = tuple(work / model / contract.part_file(bag.mode, model) for model in models)
    for piece, file in zip(parts.pieces, files, strict=True):
        onnxfiles.save(piece.model, file)
    reference = work / f"{member.name}_reference" / "model.onnx"
    onnxfiles.save(parts.reference, reference)
    chain = Chain(member.name, files, arena=False)
    check = verify_labels if integers.is_quantised(member.model) else verify
    difference = check(chain, reference, rows)
    reference.unlink()
    chain = Chain(member.name, files, usable_cores())
    features, probabilities = chain.observe(rows, _batch(opened.members[number]), work / "features")
    chain.close()
    chain = Chain(member.name, files)
    return CutMember(parts.pieces, models, files, chain, features, probabilities, difference)
