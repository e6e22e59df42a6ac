"""Correcting the estimated times of boundaries by timing real segments once.

Shares from the node profile miss what fusing, layout and starting a segment cost. So the members are cut once where the
first plan says, the segments are timed, and every boundary's share is moved along the broken line through the measured
points; the final plan is made with those.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from exeunt_export import onnxfiles
from exeunt_export.cutting.chain import Chain
from exeunt_export.cutting.cuts import Boundary
from exeunt_export.cutting.split import Cut, split
from exeunt_export.planning.plan import MeasuredMember
from exeunt_export.profile import segment_times


def refine(measured: MeasuredMember, cuts: Sequence[Cut], rows: Mapping[str, np.ndarray]) -> MeasuredMember:
    """The member with the shares and the whole time that its segments really have.

    Args:
        measured: the member, measured node by node.
        cuts: where the first plan would cut it; without any nothing changes.
        rows: public input -> real rows.
    """
    if not cuts:
        return measured
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, piece in enumerate(split(measured.member, cuts).pieces):
            files.append(Path(folder) / f"s{number}" / "model.onnx")
            onnxfiles.save(piece.model, files[-1])
        chain = Chain(measured.member.name, files)
        times = [cost[1] for cost in segment_times.profile_chain(chain, rows, [1], lambda: None)]
    reached = list(accumulate(times))
    estimated_shares = [0.0, *(cut.boundary.share for cut in cuts), 1.0]
    costs = dataclasses.replace(measured.costs, total_us=reached[-1])
    return dataclasses.replace(
        measured, costs=costs, boundaries=move_shares(measured.boundaries, estimated_shares, [0.0, *reached])
    )


def move_shares(
    boundaries: Sequence[Boundary], estimated_shares: Sequence[float], reached_us: Sequence[float]
) -> tuple[Boundary, ...]:
    """Boundaries with their shares moved along the broken line through (estimated share, reached_us / whole time).

    Args:
        boundaries: in order.
        estimated_shares: increasing estimated shares, from 0 to 1.
        reached_us: the times measured there, from 0 to the whole.
    """
    measured = np.asarray(reached_us) / reached_us[-1]
    moved = np.interp([boundary.share for boundary in boundaries], estimated_shares, measured)
    return tuple(
        dataclasses.replace(boundary, share=float(share)) for boundary, share in zip(boundaries, moved, strict=True)
    )
