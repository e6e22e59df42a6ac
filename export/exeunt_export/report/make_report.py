"""Gathering what an export did into its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from exeunt.bag_stages import ramp_pairs
from exeunt.deciding import votes
from exeunt.manifest import Manifest
from exeunt_export import onnxfiles
from exeunt_export.export_progress import Stages
from exeunt_export.planning.cut_members import CutMember
from exeunt_export.planning.opening import OpenedBag
from exeunt_export.planning.plan import ExitPlan
from exeunt_export.planning.quantise import FloatMember
from exeunt_export.ramps.train import MemberDepth
from exeunt_export.readers import integers
from exeunt_export.report import expectation
from exeunt_export.report.export_report import CutReport, ExportReport, QuantisedReport
from exeunt_export.report.member_choice import member_choice
from exeunt_export.report.oddities import oddity_warnings
from exeunt_export.writing import assembling

_SLOWER = 1.05  # less than that may be noise
_WORTH_HOPS_MS = 10.0  # least time of a full vote in ensemble mode on a CPU, as measured on bags of published models


def make_report(
    opened: OpenedBag,
    plan: ExitPlan,
    cut: Sequence[CutMember],
    sample_votes: Mapping[MemberDepth, np.ndarray],
    float_members: Mapping[str, FloatMember],
    manifest: Manifest,
    output: Path,
    stages: Stages,
) -> ExportReport:
    """What was done, with what to expect of it.

    Args:
        opened: the bag.
        plan: as it was carried out.
        cut: the members in segments.
        sample_votes: (member, depth) -> probabilities on every sample.
        float_members: quantised members as they were.
        manifest: as written.
        output: the repository.
        stages: told of progress.
    """
    stages.at("report", 0, 1)
    parts = opened.parts
    rows = parts.report
    full = votes.labels(assembling.exit_votes(opened, manifest.exits[-1].depths, sample_votes))[rows]
    agrees = {key: float((votes.labels(votes_)[rows] == full).mean()) for key, votes_ in sample_votes.items()}
    expected = expectation.expect(manifest, sample_votes, parts.calibration, rows)
    doubts = expectation.bag_warnings(manifest, sample_votes, np.concatenate([parts.calibration, rows]), expected)
    quantised = _quantised_reports(opened, sample_votes, float_members, manifest)
    finished = {member.name: sample_votes[member.name, member.depth] for member in manifest.members}
    odd = oddity_warnings(opened.samples, finished, opened.labels)
    stages.at("report", 1, 1)
    return ExportReport(
        output=output,
        manifest=manifest,
        cuts=_cut_reports(opened, plan, agrees, manifest),
        member_agreement={member.name: agrees[member.name, member.depth] for member in manifest.members},
        parts=parts.sizes,
        ramp_share=plan.ramp_share,
        ramp_budget=opened.bag.cuts.ramp_budget,
        worst_difference={m.name: member_cut.difference for m, member_cut in zip(opened.bag.members, cut, strict=True)},
        seconds=dict(stages.seconds),
        warnings=(
            *plan.warnings,
            *odd,
            *_small_ensemble_warning(opened, manifest),
            *_nothing_learns_warning(opened, plan, manifest),
            *_batch_scale_warnings(opened),
            *_slower_int8_warnings(quantised),
            *doubts,
        ),
        expected=expected,
        members=member_choice(manifest, sample_votes, parts.calibration, rows),
        quantised=quantised,
    )


def _cut_reports(
    opened: OpenedBag, plan: ExitPlan, agrees: Mapping[MemberDepth, float], manifest: Manifest
) -> tuple[CutReport, ...]:
    # shares of the measured time as the strip shows them, not as planned
    reached = {member.name: [us / member.total_us for us in member.reached_us()] for member in manifest.members}
    return tuple(
        CutReport(
            member=member.name,
            depth=depth,
            after=cut_.boundary.after,
            width=cut_.boundary.width,
            bytes_per_row=cut_.boundary.bytes_per_row,
            share=reached[member.name][depth - 1],
            grid=cut_.grid,
            pool=cut_.pool,
            features=cut_.features,
            agreement=agrees[member.name, depth],
            exits=tuple(number for number, depths in enumerate(plan.exits) if depths[place] == depth),
            ramp_bytes=4 * (cut_.features + 1) * len(opened.labels),
        )
        for place, (member, member_cuts) in enumerate(zip(opened.bag.members, plan.cuts, strict=True))
        for depth, cut_ in enumerate(member_cuts, start=1)
    )


def _quantised_reports(
    opened: OpenedBag,
    sample_votes: Mapping[MemberDepth, np.ndarray],
    float_members: Mapping[str, FloatMember],
    manifest: Manifest,
) -> tuple[QuantisedReport, ...]:
    """Each member that was quantised, held against the float bag on the report rows."""
    rows = opened.parts.report
    weights = [member.weight for member in manifest.members]
    after = {member.name: sample_votes[member.name, member.depth][rows] for member in manifest.members}
    floats = {
        name: float_members[name].probabilities if name in float_members else votes_ for name, votes_ in after.items()
    }
    votes_before, votes_after = (
        votes.labels(votes.vote(list(votes_.values()), weights, manifest.vote)) for votes_ in (floats, after)
    )
    reports = []
    for measured, exported in zip(opened.members, manifest.members, strict=True):
        name = measured.member.name
        if name not in float_members:
            continue
        old, new = votes.labels(floats[name]), votes.labels(after[name])
        reports.append(
            QuantisedReport(
                member=name,
                same_label=float((old == new).mean()),
                agreement_before=float((old == votes_before).mean()),
                agreement_after=float((new == votes_after).mean()),
                same_vote=float((votes_before == votes_after).mean()),
                bytes_before=float_members[name].weight_bytes,
                bytes_after=onnxfiles.weight_bytes(measured.member.model),
                us_before=float_members[name].total_us,
                us_after=exported.total_us,
            )
        )
    return tuple(reports)


def _small_ensemble_warning(opened: OpenedBag, manifest: Manifest) -> list[str]:
    """Small bags are slower in ensemble mode than without exeunt: each call between Triton's processes costs time."""
    full_ms = manifest.exits[-1].elapsed_us[1] / 1000.0
    if manifest.mode != "ensemble" or opened.bag.serving.kind == "gpu" or full_ms >= _WORTH_HOPS_MS:
        return []
    return [
        f'{opened.bag.where}: mode = "ensemble", but a full vote takes {full_ms:.1f} ms for one row here, and every '
        "call between Triton's processes about half a millisecond: such a bag is slower than without exits; "
        'set mode = "engine", or kind = "gpu" in [serving] if it will run on one'
    ]


def _nothing_learns_warning(opened: OpenedBag, plan: ExitPlan, manifest: Manifest) -> list[str]:
    """A ramp learns if some exit votes by it and the export trained it: exits of the members themselves never do."""
    trained = any(not plan.cuts[member][depth - 1].own_exit for member, depth in ramp_pairs(manifest))
    if trained or not manifest.settings.learn_ramps:
        return []
    return [
        f"{opened.bag.where}: learn_ramps = true, but no exit votes by a ramp that was trained here, so nothing will "
        "learn; more [cuts] exits, a larger ramp_budget or another schedule may give such exits"
    ]


def _slower_int8_warnings(quantised: Sequence[QuantisedReport]) -> list[str]:
    return [
        f"member {change.member} is slower in int8 on this machine "
        f"({change.us_after / change.us_before:.0%} of the time); "
        'set quantize = "none" for it'
        for change in quantised
        if change.us_after > _SLOWER * change.us_before
    ]


def _batch_scale_warnings(opened: OpenedBag) -> list[str]:
    return [
        f"{member.member.where}: member {member.member.name} is quantised dynamically: its scales are taken over a "
        "whole batch, so a row's probabilities depend a little on what it is batched with; "
        "quantise it statically to avoid it"
        for member in opened.members
        if integers.is_batch_quantised(member.member.model)
    ]
