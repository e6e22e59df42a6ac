"""Gathering what an export did into its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from exeunt.deciding import votes
from exeunt.export import assembling, expectation
from exeunt.export.cutting import CutMember
from exeunt.export.opening import Opened
from exeunt.export.plan import Plan
from exeunt.export.ramps import Key
from exeunt.export.report import CutReport, ExportReport
from exeunt.export.stages import Stages
from exeunt.manifest import Manifest


def make_report(
    opened: Opened,
    plan: Plan,
    cut: Sequence[CutMember],
    known: Mapping[Key, np.ndarray],
    manifest: Manifest,
    output: Path,
    stages: Stages,
) -> ExportReport:
    """What was done, with what to expect of it.

    Args:
        opened: the bag.
        plan: as it was carried out.
        cut: the members in segments.
        known: (member, depth) -> probabilities on every sample.
        manifest: as written.
        output: the repository.
        stages: told of progress.
    """
    stages.at("report", 0, 1)
    parts = opened.parts
    rows = parts.report
    full = votes.labels(assembling.exit_votes(opened, manifest.exits[-1].depths, known))[rows]
    agrees = {key: float((votes.labels(each)[rows] == full).mean()) for key, each in known.items()}
    expected = expectation.expect(manifest, known, parts.calibration, rows)
    doubts = expectation.warn(manifest, known, np.concatenate([parts.calibration, rows]), expected)
    stages.at("report", 1, 1)
    return ExportReport(
        output=output,
        manifest=manifest,
        cuts=_cuts(opened, plan, agrees),
        member_agreement={member.name: agrees[member.name, member.depth] for member in manifest.members},
        parts=parts.sizes,
        ramp_share=plan.ramp_share,
        ramp_budget=opened.bag.cuts.ramp_budget,
        worst_difference={m.name: each.difference for m, each in zip(opened.bag.members, cut, strict=True)},
        seconds=dict(stages.seconds),
        warnings=(*plan.warnings, *doubts),
        expected=expected,
    )


def _cuts(opened: Opened, plan: Plan, agrees: Mapping[Key, float]) -> tuple[CutReport, ...]:
    return tuple(
        CutReport(
            member=member.name,
            depth=depth,
            after=each.boundary.after,
            width=each.boundary.width,
            bytes_per_row=each.boundary.bytes_per_row,
            share=each.boundary.share,
            grid=each.grid,
            features=each.features,
            agreement=agrees[member.name, depth],
            exits=tuple(number for number, depths in enumerate(plan.exits) if depths[place] == depth),
            ramp_bytes=4 * (each.features + 1) * len(opened.labels),
        )
        for place, (member, own) in enumerate(zip(opened.bag.members, plan.cuts, strict=True))
        for depth, each in enumerate(own, start=1)
    )
