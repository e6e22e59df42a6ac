from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exeunt import contract
from exeunt.contract import FEATURES, PROBABILITIES, features_name, votes_name
from exeunt.deciding import votes
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.serving.checks.repository import check_repository
from exeunt_export import nodecosts
from exeunt_export.bagfile.bagfile import Cuts
from exeunt_export.counting import COUNTED
from exeunt_export.export_bag import export_bag
from exeunt_export.planning.plan import MeasuredMember, make_plan
from exeunt_export.readers.graph import load_member
from exeunt_export.report.export_report import ExportReport
from tests.export.graphs import Net, noise_rows, residual_net, two_cell_net
from tests.export.tiny import CLASSES, ROWS, SIDE, tiny_bag


@pytest.fixture(scope="module", params=["ensemble", "engine"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp(request.param)
    return export_bag(tiny_bag(folder, mode=request.param), folder / "repository")


@pytest.fixture(scope="module")
def manifest(exported: ExportReport) -> Manifest:
    return Manifest.load(exported.output / "tiny_exit" / "1" / contract.MANIFEST_FILE)


def onnx_file(exported: ExportReport, model: str) -> Path:
    if exported.manifest.mode == "engine":
        return exported.output / "tiny_exit" / "1" / f"{model}.onnx"
    return exported.output / model / "1" / "model.onnx"


def every_vote(exported: ExportReport, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Votes of every ramp and member, by running the files of the repository."""
    by_name: dict[str, np.ndarray] = {}
    for member in exported.manifest.members:
        at_hand = {"IMAGE": rows}
        for depth, segment in enumerate(member.segments, start=1):
            session = ort.InferenceSession(onnx_file(exported, segment.model))
            names = [output.name for output in session.get_outputs()]
            fed = {input_.name: at_hand[input_.name] for input_ in segment.inputs}
            at_hand |= dict(zip(names, session.run(None, fed), strict=True))
            if segment.features is not None:
                by_name[features_name(member.name, depth)] = at_hand[FEATURES]
        by_name[votes_name(member.name, member.depth)] = at_hand[PROBABILITIES]
    for exit_ in exported.manifest.exits:
        if exit_.heads is not None:
            session = ort.InferenceSession(onnx_file(exported, exit_.heads))
            head_inputs = {input_.name: by_name[input_.name] for input_ in session.get_inputs()}
            by_name |= dict(
                zip([output.name for output in session.get_outputs()], session.run(None, head_inputs), strict=True)
            )
    return by_name


def test_the_manifest_reads_back_as_it_was_written(exported: ExportReport, manifest: Manifest) -> None:
    assert manifest == exported.manifest
    assert (manifest.bag, manifest.classes, manifest.max_batch_size) == ("tiny", CLASSES, 16)


def test_as_many_exits_as_wanted_are_written(manifest: Manifest) -> None:
    assert len(manifest.exits) == 4
    assert manifest.exits[-1].depths == tuple(member.depth for member in manifest.members)


def test_times_and_budget_are_measured_for_every_batch_size(manifest: Manifest) -> None:
    for exit_ in manifest.exits:
        assert sorted(exit_.elapsed_us) == sorted(exit_.head_us) == [1, 2, 4, 8, 16]
        assert all(us > 0 for us in exit_.elapsed_us.values())
        assert all((us > 0) is (exit_.heads is not None) for us in exit_.head_us.values())


def test_an_exit_costs_no_less_than_the_one_before(manifest: Manifest) -> None:
    for size in (1, 16):
        times = [exit_.elapsed_us[size] for exit_ in manifest.exits]
        assert times == sorted(times)


def test_calibration_holds_the_votes_that_the_files_give(exported: ExportReport) -> None:
    calibration = np.load(exported.output / "tiny_exit" / "1" / contract.CALIBRATION_FILE)
    by_name = every_vote(exported, noise_rows(ROWS, 0, SIDE))
    vote_names = {name for name in by_name if not name.endswith("features")}
    assert set(calibration.files) == vote_names
    rows = exported.parts["calibration"]
    for name in vote_names:
        assert (calibration[name].shape, calibration[name].dtype) == ((rows, CLASSES), np.float32)
        nearest = np.abs(calibration[name][0] - by_name[name]).max(axis=1).min()
        assert nearest < 1e-5


def test_agreement_is_measured_on_the_report_part(exported: ExportReport) -> None:
    from exeunt_export.bagfile.samples import divide

    rows = divide(ROWS, seed=0).report
    by_name = every_vote(exported, noise_rows(ROWS, 0, SIDE)[rows])
    members, exits = exported.manifest.members, exported.manifest.exits
    decided = []
    for number, exit_ in enumerate(exits):
        probabilities = [by_name[votes_name(m.name, d)] for m, d in zip(members, exit_.depths, strict=True) if d]
        decided.append(votes.labels(votes.vote(probabilities, exported.manifest.exit_weights(number))))
    agreement = [float((item == decided[-1]).mean()) for item in decided]
    assert agreement == pytest.approx([exit_.agreement for exit_ in exits])
    assert exported.parts == {"ramps": 120, "calibration": 84, "report": 36}


def test_the_report_tells_about_every_cut(exported: ExportReport, manifest: Manifest) -> None:
    assert [(cut.member, cut.depth) for cut in exported.cuts] == [
        (member.name, depth) for member in manifest.members for depth in range(1, member.depth)
    ]
    assert all(cut.grid in (4, 2, 1) and 0 < cut.share < 1 for cut in exported.cuts)
    assert "bag tiny: 3 member(s), 8 classes" in exported.summary()


def test_ramps_agree_more_often_than_chance(exported: ExportReport) -> None:
    assert np.mean([cut.agreement for cut in exported.cuts]) > 1.2 / CLASSES


def bag_of(tmp_path: Path, files: dict[str, Path], cuts: str = "ramp_budget = 10", top: str = "") -> Path:
    np.save(tmp_path / "samples.npy", noise_rows(80, 0))
    members = "".join(f'[[member]]\nname = "{name}"\nfile = "{file}"\n' for name, file in files.items())
    cuts = f'times = "counted"\n{cuts}'
    text = f'name = "bag"\nsamples = "samples.npy"\n{top}\n{members}[cuts]\n{cuts}\n[serving]\nmax_batch_size = 2\n'
    (tmp_path / "bag.toml").write_text(text, encoding="utf-8")
    return tmp_path / "bag.toml"


def test_a_bag_of_one_member_has_its_own_exits(tmp_path: Path) -> None:
    file = residual_net(tmp_path / "only.onnx", number=2)
    report = export_bag(bag_of(tmp_path, {"only": file}), tmp_path / "repository")
    assert [exit_.depths for exit_ in report.manifest.exits] == [(1,), (2,), (3,), (4,)]


def test_a_member_that_cannot_be_cut_votes_when_it_has_finished(tmp_path: Path) -> None:
    one_node = Net(3)
    flat = one_node.node("Reshape", one_node.input, one_node.constant(np.array([0, 256])))
    file = one_node.save(tmp_path / "small.onnx", one_node.node("MatMul", flat, one_node.weight(256, 8)))
    files = {"large": residual_net(tmp_path / "large.onnx", number=2), "small": file}
    report = export_bag(bag_of(tmp_path, files), tmp_path / "repository")
    small = report.manifest.members[1]
    assert small.depth == 1
    assert all(exit_.depths[1] in (0, 1) for exit_ in report.manifest.exits)


def test_a_budget_too_small_gives_fewer_exits_and_says_so(tmp_path: Path) -> None:
    files = {"a": residual_net(tmp_path / "a.onnx")}
    report = export_bag(bag_of(tmp_path, files, "ramp_budget = 0.0"), tmp_path / "repository")
    assert len(report.manifest.exits) == 1
    assert any("no exits with ramps" in warning and "set ramp_budget = " in warning for warning in report.warnings)


def test_no_exits_can_be_asked_for(tmp_path: Path) -> None:
    files = {"a": residual_net(tmp_path / "a.onnx")}
    report = export_bag(bag_of(tmp_path, files, "exits = 0"), tmp_path / "repository")
    assert (len(report.manifest.exits), report.cuts) == (1, ())
    assert "warning: " in report.summary() and "exits = 0: the bag has no early exit" in report.summary()


def test_a_width_of_two_cuts_the_two_cell_net(tmp_path: Path) -> None:
    files = {"cells": two_cell_net(tmp_path / "cells.onnx")}
    report = export_bag(bag_of(tmp_path, files), tmp_path / "repository")
    assert 2 in {cut.width for cut in report.cuts}


def test_no_cut_within_the_width_is_refused_with_the_cure(tmp_path: Path) -> None:
    net = Net(0)
    towers = [net.node("Neg", net.input)] * 2
    for _ in range(3):  # two towers that read each other's floors
        left, right = (net.conv(tower, 4 if tower.name != "neg_0" else 1, 4) for tower in towers)
        towers = [net.node("Add", left, right), net.node("Sub", left, right)]
    means = net.node("Flatten", net.node("GlobalAveragePool", net.node("Mul", *towers)), axis=1)
    file = net.save(tmp_path / "towers.onnx", net.node("MatMul", means, net.weight(4, 8)))
    rows = {"IMAGE": noise_rows(8, 0)}
    member = load_member("towers", file, rows)
    measured = nodecosts.measure(member.model, rows, "towers", COUNTED)
    # convolutions alone cost time, as in a large net: the places after the towers are of no use
    share = {node.name or "": float(node.op_type == "Conv") / 6 for node in member.model.graph}
    planned = MeasuredMember.of(member, dataclasses.replace(measured, share=share))
    with pytest.raises(ConfigError, match=r"towers\.onnx; raise \[cuts\] max_cut_width to 2 \(now 1\)"):
        make_plan([planned], Cuts(max_cut_width=1), 8, "bag.toml")


def test_members_that_disagree_on_classes_are_refused(tmp_path: Path) -> None:
    files = {"a": residual_net(tmp_path / "a.onnx"), "b": residual_net(tmp_path / "b.onnx", classes=9)}
    with pytest.raises(ConfigError, match=r"b\.onnx: member b has 9 classes, .*a\.onnx has 8"):
        export_bag(bag_of(tmp_path, files), tmp_path / "repository")


def test_members_that_disagree_on_the_input_are_refused(tmp_path: Path) -> None:
    files = {"a": residual_net(tmp_path / "a.onnx"), "b": residual_net(tmp_path / "b.onnx", side=8)}
    message = (
        r"bag\.toml: member b: file = .*b\.onnx: input 'IMAGE' wants .*1, 8, 8.*samples = .*samples\.npy hold .*16, 16"
    )
    with pytest.raises(ConfigError, match=message):
        export_bag(bag_of(tmp_path, files), tmp_path / "repository")


def test_a_label_too_few_is_refused(tmp_path: Path) -> None:
    bag = bag_of(tmp_path, {"a": residual_net(tmp_path / "a.onnx")}, top='labels = ["x", "y"]')
    with pytest.raises(ConfigError, match=r"bag\.toml: labels: 2 of them, but .*a\.onnx has 8 classes"):
        export_bag(bag, tmp_path / "repository")


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    bag = bag_of(tmp_path, {"a": residual_net(tmp_path / "a.onnx")})
    np.save(tmp_path / "samples.npy", noise_rows(20, 0))
    with pytest.raises(ConfigError, match=r"bag\.toml: samples: 20 rows; give at least 50"):
        export_bag(bag, tmp_path / "repository")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_sample_that_is_no_number_is_named_by_file_input_and_row(tmp_path: Path, value: float) -> None:
    bag = bag_of(tmp_path, {"a": residual_net(tmp_path / "a.onnx")})
    rows = noise_rows(80, 0)
    rows[[17, 40], 0, 3, 3] = value
    np.save(tmp_path / "samples.npy", rows)
    with pytest.raises(ConfigError, match=r"bag\.toml: samples = .*samples\.npy: input 'IMAGE', row 17: NaN or inf"):
        export_bag(bag, tmp_path / "repository")


@pytest.mark.parametrize("member", ["none.onnx", "bag.toml"])
def test_a_failed_export_leaves_nothing_behind(tmp_path: Path, member: str) -> None:
    bag = bag_of(tmp_path, {"a": tmp_path / member})
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ConfigError, match=rf"bag\.toml: member a: file = .*{member}: "):
        export_bag(bag, tmp_path / "repository")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_members_may_take_several_inputs(tmp_path: Path) -> None:
    net = Net(0)
    more = ir.Value(name="MORE", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["rows", 6]))
    net.graph.inputs.append(more)
    x = net.residual(net.residual(net.conv(net.input, 1, 8), 8), 8)
    side = net.node("MatMul", more, net.weight(6, 8))  # needed at the very end: the input passes all cuts
    scores = net.node("Add", net.logits(net.pool(x), 8, 8, 8), side)
    file = net.save(tmp_path / "two.onnx", scores)
    bag = bag_of(tmp_path, {"two": file, "one": residual_net(tmp_path / "one.onnx")}, "ramp_budget = 10\nexits = 2")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "both.npz", IMAGE=noise_rows(80, 0), MORE=rng.normal(size=(80, 6)).astype(np.float32))
    bag.write_text(bag.read_text(encoding="utf-8").replace("samples.npy", "both.npz"), encoding="utf-8")
    report = export_bag(bag, tmp_path / "repository")
    assert [input_.name for input_ in report.manifest.inputs] == ["IMAGE", "MORE"]
    assert "MORE" in {input_.name for input_ in report.manifest.members[0].segments[-1].inputs}
    assert check_repository(report.output).problems == ()
