"""From cut members and trained ramps to the manifest's members and exits, with their measured times and agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from exeunt import bag_stages, contract
from exeunt.contract import features_name, part_file, votes_name
from exeunt.deciding import votes
from exeunt.deciding.heads import Head
from exeunt.engine.sessions import workers_of
from exeunt.learning.files import HEADS_FILE, save_exported
from exeunt.manifest import Exit, Member, Segment, ramps_at
from exeunt_export import onnxfiles, voting
from exeunt_export.export_progress import Stages
from exeunt_export.features import CHUNK_ROWS, chunks, create_mapped
from exeunt_export.mapped import release_pages
from exeunt_export.planning.cut_members import CutMember
from exeunt_export.planning.opening import OpenedBag
from exeunt_export.planning.plan import ExitPlan
from exeunt_export.profile import segment_times
from exeunt_export.ramps.heads import build_heads
from exeunt_export.ramps.train import AnyRamp, MemberDepth
from exeunt_export.schedule import schedule_bag

_FLOAT16_FROM = 100  # classes above which calibration data are kept in half precision


def votes_of_samples(
    opened: OpenedBag, cut: Sequence[CutMember], ramps: Mapping[MemberDepth, AnyRamp], work: Path
) -> dict[MemberDepth, np.ndarray]:
    """(member, depth) -> its probabilities on every sample, float32 [rows, classes], mapped from files in `work`."""
    votes = {}
    for member, member_cut in zip(opened.bag.members, cut, strict=True):
        for depth, features in enumerate(member_cut.features, start=1):
            probabilities = create_mapped(work / f"{member.name}_{depth}.npy", len(features), len(opened.labels))
            for part in chunks(len(features), CHUNK_ROWS):
                probabilities[part] = ramps[member.name, depth].probabilities(features[part])
            release_pages(features, probabilities)
            votes[member.name, depth] = probabilities
        votes[member.name, len(member_cut.pieces)] = member_cut.probabilities
    return votes


def exit_votes(
    opened: OpenedBag,
    depths: Sequence[int],
    sample_votes: Mapping[MemberDepth, np.ndarray],
    weights: Sequence[float] | None = None,
) -> np.ndarray:
    """The vote at an exit on every sample, float32 [rows, classes]; `weights` by member, None = the bag's."""
    weights = weights or [member.weight for member in opened.bag.members]
    members = [
        (m.name, depth, weight) for m, depth, weight in zip(opened.bag.members, depths, weights, strict=True) if depth
    ]
    probabilities = [sample_votes[name, depth] for name, depth, _ in members]
    return voting.vote(probabilities, [weight for _, _, weight in members], opened.bag.vote)


def save_heads(
    opened: OpenedBag, plan: ExitPlan, ramps: Mapping[MemberDepth, AnyRamp], work: Path
) -> list[tuple[str, Path] | None]:
    """Per exit the name and the file of its heads; None where every voting member has finished."""
    files: list[tuple[str, Path] | None] = []
    learn, ensemble = opened.bag.settings.learn_ramps, opened.bag.mode == "ensemble"
    for number, keys in enumerate(_ramps_by_exit(opened, plan)):
        if not keys:
            files.append(None)
            continue
        model = contract.heads_model(opened.bag.name, number)
        in_triton = ensemble and not learn
        file = work / model / part_file("ensemble" if in_triton else "engine", model)
        fed = learn and not ensemble  # in ensemble mode the controller applies heads by itself
        onnxfiles.save(build_heads(model, {key: ramps[key] for key in keys}, fed), file)
        files.append((model, file))
    return files


def save_learning_heads(folder: Path, opened: OpenedBag, plan: ExitPlan, ramps: Mapping[MemberDepth, AnyRamp]) -> None:
    """Write the heads of the ramps that can learn, from which a server's learning starts."""
    numbers = {member.name: number for number, member in enumerate(opened.bag.members)}
    table = {}
    for key in (key for keys in _ramps_by_exit(opened, plan) for key in keys):
        ramp = ramps[key]
        if isinstance(ramp, Head):
            table[numbers[key[0]], key[1]] = ramp
    save_exported(folder / HEADS_FILE, table)


def _ramps_by_exit(opened: OpenedBag, plan: ExitPlan) -> list[list[MemberDepth]]:
    """Per exit the members that vote by a ramp."""
    names = [member.name for member in opened.bag.members]
    finished = [len(cuts) + 1 for cuts in plan.cuts]
    return [[(names[number], depth) for number, depth in ramps_at(depths, finished)] for depths in plan.exits]


def profile_bag(
    opened: OpenedBag,
    plan: ExitPlan,
    cut: Sequence[CutMember],
    heads: Sequence[tuple[str, Path] | None],
    sample_votes: Mapping[MemberDepth, np.ndarray],
    stages: Stages,
) -> tuple[tuple[Member, ...], tuple[Exit, ...]]:
    """Time segments and heads, and describe members and exits for the manifest."""
    sizes = segment_times.batch_sizes(opened.bag.serving.max_batch_size)
    total = segment_times.ROUNDS * (len(cut) + sum(head_ is not None for head_ in heads))
    steps = iter(range(1, total + 1))

    def advance() -> None:
        stages.at("profile", next(steps), total)

    stages.at("profile", 0, total)
    members = tuple(
        _profile_member(opened, number, member_cut, sizes, advance) for number, member_cut in enumerate(cut)
    )
    features = {
        features_name(member.name, depth): feature
        for member, one in zip(members, cut, strict=True)
        for depth, feature in enumerate(one.features, start=1)
    }
    exits = []
    weights = plan.weights or (None,) * len(plan.exits)
    elapsed = {size: _elapsed_us(opened, members, plan, size) for size in sizes}
    for number, (depths, head, keys) in enumerate(zip(plan.exits, heads, _ramps_by_exit(opened, plan), strict=True)):
        fed = {features_name(*key): features[features_name(*key)] for key in keys}
        head_us = segment_times.profile_heads(head[1], fed, sizes, advance) if head else dict.fromkeys(sizes, 0.0)
        elapsed_us = {size: elapsed[size][number] for size in sizes}
        agreement = _agreement(opened, plan, number, sample_votes)
        exits.append(Exit(depths, head[0] if head else None, elapsed_us, head_us, agreement, weights[number]))
    return members, tuple(exits)


def _profile_member(
    opened: OpenedBag, number: int, cut: CutMember, sizes: Sequence[int], advance: segment_times.Advance
) -> Member:
    bag, member = opened.bag, opened.bag.members[number]
    rows = opened.rows_of(opened.members[number].member)
    costs = segment_times.profile_chain(cut.chain, rows, sizes, advance)
    segments = tuple(
        Segment(model, piece.inputs, piece.outputs, piece.features, cost)
        for model, piece, cost in zip(cut.models, cut.pieces, costs, strict=True)
    )
    whole = contract.member_model(bag.name, member.name) if bag.serving.baseline else None
    return Member(member.name, float(member.weight), segments, whole, cut.difference)


def _elapsed_us(opened: OpenedBag, members: Sequence[Member], plan: ExitPlan, size: int) -> list[float]:
    """When each exit is reached with `size` rows: by stages, or as the engine's workers allow."""
    if opened.bag.mode == "engine":
        return schedule_bag.elapsed_us(members, plan, size, workers_of(opened.bag.settings))
    return bag_stages.elapsed_us(opened.inputs, members, plan.exits, size)


def _agreement(opened: OpenedBag, plan: ExitPlan, number: int, sample_votes: Mapping[MemberDepth, np.ndarray]) -> float:
    rows = opened.parts.report
    weights = plan.weights[number] if plan.weights else None
    here = votes.labels(exit_votes(opened, plan.exits[number], sample_votes, weights))[rows]
    return float((here == votes.labels(exit_votes(opened, plan.exits[-1], sample_votes))[rows]).mean())


def save_calibration(folder: Path, opened: OpenedBag, sample_votes: Mapping[MemberDepth, np.ndarray]) -> None:
    """Write calibration.npz: `member.depth` -> its probabilities on the calibration rows.

    float32, or float16 where there are more than 100 classes; [rows, classes].
    """
    dtype = np.float16 if len(opened.labels) > _FLOAT16_FROM else np.float32
    rows = opened.parts.calibration
    arrays = {votes_name(*key): votes_[rows].astype(dtype) for key, votes_ in sample_votes.items()}
    np.savez(folder / contract.CALIBRATION_FILE, **arrays)
