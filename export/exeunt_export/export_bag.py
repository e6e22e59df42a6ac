"""The export of a bag from its file to a model repository: the order of all other modules of this package."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from exeunt import __version__, contract
from exeunt.hosting.assembly import make_controller
from exeunt.manifest import Manifest
from exeunt_export import onnxfiles, voting
from exeunt_export.bagfile.bagfile import BagFile
from exeunt_export.counting import COUNTED
from exeunt_export.export_progress import Progress, Stages
from exeunt_export.planning import own_exits, pooling_choice, threads
from exeunt_export.planning.cut_members import CutMember, cut_members
from exeunt_export.planning.opening import OpenedBag, open_bag
from exeunt_export.planning.plan import ExitPlan, make_plan
from exeunt_export.planning.quantise import FloatMember, quantise_members
from exeunt_export.planning.refine import refine
from exeunt_export.ramps import train
from exeunt_export.readers.graph import without_exits
from exeunt_export.report.export_report import ExportReport
from exeunt_export.report.make_report import make_report
from exeunt_export.report.page import save_page
from exeunt_export.schedule import schedule_bag
from exeunt_export.schedule.inner_stages import inner_stages
from exeunt_export.schedule.unused_cuts import renumber_depths, without_unused_cuts
from exeunt_export.writing import assembling, repository


def export_bag(
    bag: BagFile | Path | str,
    output: Path | str,
    *,
    samples: Mapping[str, np.ndarray] | np.ndarray | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Export a bag: cut, verify, train ramps, profile, and write a Triton model repository.

    Args:
        bag: a bag file, read or not.
        output: folder of the repository; it appears whole or not at all.
        samples: unlabelled inputs, [rows, ...] per public input, in place of the bag file's.
        force: replace a repository that exeunt wrote.
        progress: called with (stage, steps done, total).

    Returns:
        what was done.

    Raises:
        ConfigError: the bag cannot be exported as it is described; names file, key and cure.
        ServingError: the segments do not equal the member.
    """
    bag = bag if isinstance(bag, BagFile) else BagFile.read(bag)
    bag.check()
    output = Path(output)
    repository.check_output(output, force)
    stages = Stages(progress or (lambda stage, steps_done, total: None))
    opened = open_bag(bag, samples, stages)
    opened, float_members = quantise_members(opened, stages)
    opened, plan = _plan(opened, stages)
    with repository.replacing(output, force) as root:
        return _write(opened, plan, float_members, root, output, stages)


def _plan(opened: OpenedBag, stages: Stages) -> tuple[OpenedBag, ExitPlan]:
    """Plan twice: by the node profile, then by the times that the first plan's segments really take.

    Counted times do not change, so there one plan is enough.
    """
    bag, classes = opened.bag, len(opened.labels)
    stages.at("plan", 0, len(opened.members) + 1)
    planner = own_exits.make_plan if any(member.member.exits for member in opened.members) else make_plan
    first = planner(opened.members, bag.cuts, classes, bag.where)
    if bag.cuts.times == COUNTED:
        stages.at("plan", len(opened.members) + 1, len(opened.members) + 1)
        return opened, first
    members = []
    for member, cuts in zip(opened.members, first.cuts, strict=True):
        members.append(refine(member, cuts, opened.rows_of(member.member)))
        stages.at("plan", len(members), len(opened.members) + 1)
    opened = dataclasses.replace(opened, members=tuple(members))
    plan = planner(opened.members, bag.cuts, classes, bag.where)
    stages.at("plan", len(members) + 1, len(members) + 1)
    return opened, plan


def _write(
    opened: OpenedBag,
    plan: ExitPlan,
    float_members: Mapping[str, FloatMember],
    root: Path,
    output: Path,
    stages: Stages,
) -> ExportReport:
    """Everything after planning, in the folder `root`."""
    plan = pooling_choice.with_both_poolings(plan)
    cut = cut_members(opened, plan, root / "work", stages)
    plan, cut, trained = _train(opened, plan, cut, root / "work" / "pooled", stages)
    sample_votes = assembling.votes_of_samples(opened, cut, trained, root / "work" / "votes")
    opened, cut, slowdown = threads.choose_threads(opened, cut, stages)
    plan = schedule_bag.with_schedule(opened, dataclasses.replace(plan, slowdown=slowdown), sample_votes)
    if opened.bag.mode == "ensemble" and (fewer := without_unused_cuts(plan)) is not plan:
        names = [member.name for member in opened.bag.members]
        trained, sample_votes = renumber_depths(plan, names, trained), renumber_depths(plan, names, sample_votes)
        plan, cut = fewer, cut_members(opened, fewer, root / "work" / "fewer", stages)
    heads = assembling.save_heads(opened, plan, trained, root / "work")
    members, exits = assembling.profile_bag(opened, plan, cut, heads, sample_votes, stages)
    stages.at("write", 0, 1)
    parts = {model: file for member_cut in cut for model, file in zip(member_cut.models, member_cut.files, strict=True)}
    parts |= {model: file for model, file in filter(None, heads)}
    preprocessing_files = _save_preprocessing(opened, root / "work")
    bag = opened.bag
    manifest = Manifest(
        bag=bag.name,
        mode=bag.mode,
        vote=bag.vote,
        schedule=bag.schedule,
        inputs=opened.inputs,
        labels=opened.labels,
        max_batch_size=bag.serving.max_batch_size,
        members=members,
        exits=exits,
        settings=bag.settings,
        weights_sha256=onnxfiles.sha256_of(parts | preprocessing_files),
        exported_by=f"exeunt {__version__}",
        preprocess=opened.shared.preprocess if opened.shared else None,
        top=bag.serving.top,
        slowdown=plan.slowdown,
        gears=plan.gears,
        controller_heads=bag.mode == "ensemble" and bag.settings.learn_ramps,
        inner_stages=inner_stages(opened, plan, members, sample_votes),
    )
    manifest.check(bag.where)
    files = repository.ModelFiles(parts, _save_whole(opened, root / "work"), preprocessing_files)
    version = repository.write_models(root / "repository", manifest, bag.serving, files)
    manifest.save(version / contract.MANIFEST_FILE)
    assembling.save_calibration(version, opened, sample_votes)
    if bag.settings.learn_ramps:
        assembling.save_learning_heads(version, opened, plan, trained)
    make_controller(manifest, version)  # the server will do the same: what it would refuse is refused here
    stages.at("write", 1, 1)
    report = make_report(opened, plan, cut, sample_votes, float_members, manifest, output, stages)
    report.save(version)
    save_page(report, root / "repository")
    return report


def _train(
    opened: OpenedBag, plan: ExitPlan, cut: list[CutMember], work: Path, stages: Stages
) -> tuple[ExitPlan, list[CutMember], dict[train.MemberDepth, train.AnyRamp]]:
    """Ramps of every cut, trained on their part of the samples against the full vote, or the member's own."""
    weights = [member.weight for member in opened.bag.members]
    full = voting.vote([member_cut.probabilities for member_cut in cut], weights, opened.bag.vote)
    own_ramps: dict[train.MemberDepth, train.AnyRamp] = {
        (member.name, depth): train.OwnRamp(cut_.classes)
        for member, cuts in zip(opened.bag.members, plan.cuts, strict=True)
        for depth, cut_ in enumerate(cuts, start=1)
        if cut_.own_exit
    }
    stages.at("train ramps", 0, 1)

    def advance(ramps_trained: int, ramps: int) -> None:
        stages.at("train ramps", ramps_trained, ramps)

    plan, cut, trained = pooling_choice.train_and_choose_pooling(opened, plan, cut, full, work, advance)
    return plan, cut, own_ramps | trained


def _save_preprocessing(opened: OpenedBag, work: Path) -> dict[str, Path]:
    """The file of the preprocessing that members share, by its Triton name."""
    if opened.shared is None:
        return {}
    name = opened.shared.preprocess.model
    onnxfiles.save(opened.shared.model, work / name / "model.onnx")
    return {name: work / name / "model.onnx"}


def _save_whole(opened: OpenedBag, work: Path) -> dict[str, Path]:
    """The unsplit members' files by Triton name; none without the baseline."""
    files: dict[str, Path] = {}
    if opened.bag.serving.baseline:
        for member in opened.members:
            name = contract.member_model(opened.bag.name, member.member.name)
            files[name] = work / name / "model.onnx"
            onnxfiles.save(without_exits(member.member), files[name])
    return files
