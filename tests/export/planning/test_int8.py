from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

from exeunt.errors import ConfigError, ServingError
from exeunt.serving.checks.repository import check_repository
from exeunt.serving.pip_server import serve
from exeunt_export import nodecosts
from exeunt_export.bagfile.bagfile import BagFile
from exeunt_export.counting import COUNTED
from exeunt_export.cutting.chain import Chain
from exeunt_export.cutting.cuts import boundaries, candidates
from exeunt_export.cutting.split import make_cut, split
from exeunt_export.cutting.verify import verify_labels
from exeunt_export.export_bag import export_bag
from exeunt_export.onnxfiles import open_in_memory, run, save, weight_bytes
from exeunt_export.planning import quantise
from exeunt_export.readers import integers
from exeunt_export.readers.graph import MemberGraph, load_member
from exeunt_export.report.export_report import ExportReport
from exeunt_export.report.page import page
from exeunt_export.torch_modules import save_module
from tests.architectures.attention import TOKENS, VOCABULARY, bert
from tests.export.graphs import noise_rows, residual_net
from tests.export.tiny import CLASSES, SIDE
from tests.triton.calls import ask, vote_offline

ROWS = noise_rows(240, 0, SIDE)
KINDS = ("qdq", "qoperator", "dynamic")


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.parts: Iterator[np.ndarray] = iter(np.split(ROWS[:64], 4))

    def get_next(self) -> dict[str, np.ndarray] | None:
        part = next(self.parts, None)
        return None if part is None else {"IMAGE": part}


def integer_net(folder: Path, kind: str) -> Path:
    """A small residual net quantised as users do it."""
    plain, file = residual_net(folder / "plain.onnx", 2, 0, CLASSES, SIDE), folder / f"{kind}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "dynamic":
            quantize_dynamic(plain, file)
        else:
            quant_format = QuantFormat.QDQ if kind == "qdq" else QuantFormat.QOperator
            quantize_static(
                plain, file, Reader(), quant_format=quant_format, per_channel=kind == "qdq", reduce_range=True
            )
    return file


@pytest.fixture(scope="module", params=KINDS)
def member(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MemberGraph:
    folder = tmp_path_factory.mktemp(request.param)
    return load_member(request.param, integer_net(folder, request.param), {"IMAGE": ROWS})


@pytest.fixture(scope="module")
def float_member(tmp_path_factory: pytest.TempPathFactory) -> MemberGraph:
    folder = tmp_path_factory.mktemp("floats")
    return load_member("float", residual_net(folder / "m.onnx", 2, 0, CLASSES, SIDE), {"IMAGE": ROWS})


def says(member: MemberGraph, rows: np.ndarray) -> np.ndarray:
    return run(open_in_memory(member.model, "m"), {"IMAGE": rows}, "m")["PROBABILITIES"]


def cuts_of(member: MemberGraph) -> list:
    costs = nodecosts.measure(member.model, {"IMAGE": ROWS}, "m", COUNTED)
    return candidates(list(boundaries(member, costs)), 2)


def test_a_quantised_graph_is_told_from_a_float_one(member: MemberGraph, float_member: MemberGraph) -> None:
    assert integers.is_quantised(member.model)
    assert not integers.is_quantised(float_member.model)
    assert integers.is_batch_quantised(member.model) == (member.name == "dynamic")


def test_integers_of_a_known_scale_are_cut_and_floats_within_a_group_are_not(member: MemberGraph) -> None:
    kinds = {tensor.dtype for boundary in cuts_of(member) for tensor in boundary.tensors}
    assert ("uint8" in kinds or "int8" in kinds) == (member.name != "dynamic")
    ends = {boundary.op_type for boundary in cuts_of(member)}
    assert ("DequantizeLinear" in ends) is False


def test_every_single_cut_of_a_quantised_member_keeps_its_labels(member: MemberGraph, tmp_path: Path) -> None:
    cuts = cuts_of(member)
    assert len(cuts) >= 4
    for number, boundary in enumerate(cuts[:: max(1, len(cuts) // 5)]):
        cut = make_cut(member, boundary, CLASSES, (2,))
        parts = split(member, [cut])
        files = [tmp_path / f"{number}_{place}" / "model.onnx" for place in range(len(parts.pieces))]
        for piece, file in zip(parts.pieces, files, strict=True):
            save(piece.model, file)
        save(parts.reference, tmp_path / f"{number}_whole.onnx")
        chain = Chain("m", files)
        verify_labels(chain, tmp_path / f"{number}_whole.onnx", {"IMAGE": ROWS})
        features = chain.run({"IMAGE": ROWS[:5]})[0]["FEATURES"]
        assert (features.dtype, features.shape) == (np.float32, (5, cut.features))


def test_features_of_a_quantised_cut_are_real_numbers_not_steps(tmp_path: Path) -> None:
    member = load_member("q", integer_net(tmp_path, "qdq"), {"IMAGE": ROWS})
    alone = (place for place in cuts_of(member) if place.width == 1)
    boundary = next(place for place in alone if place.tensors[0].dtype == "int8")
    cut = make_cut(member, boundary, CLASSES, (1,))
    parts = split(member, [cut])
    outputs = run(open_in_memory(parts.pieces[0].model, "m"), {"IMAGE": ROWS[:16]}, "m")
    steps = next(item for name, item in outputs.items() if name != "FEATURES")
    means = steps.astype(np.float64).reshape(16, steps.shape[1], -1).mean(axis=2)
    slope, offset = np.polyfit(means.ravel(), outputs["FEATURES"].ravel(), 1)
    np.testing.assert_allclose(outputs["FEATURES"], slope * means + offset, atol=1e-4)
    assert slope < 0.5  # a step stands for a fraction


def test_segments_that_say_something_else_are_refused(tmp_path: Path) -> None:
    member = load_member("q", integer_net(tmp_path, "qdq"), {"IMAGE": ROWS})
    other = load_member("o", residual_net(tmp_path / "o.onnx", 1, 5, CLASSES, SIDE), {"IMAGE": ROWS})
    save(member.model, tmp_path / "whole.onnx")
    save(other.model, tmp_path / "part" / "model.onnx")
    with pytest.raises(ServingError, match="member q is quantised: its 1 segments in sequence give another label"):
        verify_labels(Chain("q", [tmp_path / "part" / "model.onnx"]), tmp_path / "whole.onnx", {"IMAGE": ROWS})


def test_quantising_keeps_most_labels_and_shrinks_the_weights(float_member: MemberGraph) -> None:
    quantised_member = quantise.quantise_member(float_member, {"IMAGE": ROWS[:120]})
    floats, bytes_ = says(float_member, ROWS[120:]), says(quantised_member, ROWS[120:])
    assert (floats.argmax(axis=1) == bytes_.argmax(axis=1)).mean() > 0.8
    assert np.abs(floats - bytes_).max() < 0.4
    assert weight_bytes(quantised_member.model) < 0.6 * weight_bytes(float_member.model)
    assert integers.is_quantised(quantised_member.model)


def test_the_last_layer_stays_float(float_member: MemberGraph) -> None:
    quantised_member = quantise.quantise_member(float_member, {"IMAGE": ROWS[:64]})
    last = [node for node in quantised_member.model.graph if node.op_type in ("Gemm", "MatMul")][-1]
    assert all(value.producer() is None or value.producer().op_type != "DequantizeLinear" for value in last.inputs[1:])


def test_a_quantised_member_is_not_quantised_again(member: MemberGraph) -> None:
    with pytest.raises(ConfigError, match=r"quantize = 'int8', but it is quantised already; leave quantize out"):
        quantise.quantise_member(member, {"IMAGE": ROWS[:64]})


def test_a_member_with_exits_of_its_own_is_not_quantised_here(float_member: MemberGraph) -> None:
    with_exits = dataclasses.replace(float_member, exits=("EXIT_1",))
    with pytest.raises(ConfigError, match=r"quantize = 'int8' and exits: .* quantise the file itself"):
        quantise.quantise_member(with_exits, {"IMAGE": ROWS[:64]})


def bag_file(
    folder: Path, members: dict[str, tuple[Path, str]], top: str = "", name: str = "small", more: str = ""
) -> Path:
    np.save(folder / "samples.npy", ROWS)
    tables = "".join(
        f'[[member]]\nname = "{name}"\nfile = "{file}"\n{more}\n' for name, (file, more) in members.items()
    )
    cuts = '[cuts]\nramp_budget = 10\nexits = 2\ntimes = "counted"\n'
    text = f'name = "{name}"\nsamples = "samples.npy"\n{top}\n{tables}{cuts}'
    (folder / "bag.toml").write_text(text + f"[serving]\nmax_batch_size = 4\n{more}", encoding="utf-8")
    return folder / "bag.toml"


OWN = "quantised by export"


@pytest.fixture(scope="module", params=[*KINDS, OWN])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """A bag of one member that is quantised, by its maker or by the export."""
    folder = tmp_path_factory.mktemp("int8")
    if request.param == OWN:
        member = (residual_net(folder / "m.onnx", 2, 0, CLASSES, SIDE), 'quantize = "int8"')
    else:
        member = (integer_net(folder, request.param), "")
    return export_bag(bag_file(folder, {"m": member}), folder / "repository")


def test_quantised_members_are_cut_get_ramps_and_pass_the_check(exported: ExportReport) -> None:
    assert len(exported.cuts) == 2
    assert check_repository(exported.output).problems == ()


def test_ramps_on_quantised_members_agree_more_often_than_chance(exported: ExportReport) -> None:
    assert np.mean([cut.agreement for cut in exported.cuts]) > 1.2 / CLASSES


def test_the_report_tells_agreement_before_and_after(exported: ExportReport) -> None:
    # one member: the bag's vote is its own, so agreement with it is complete before and after
    items = [(item.member, item.agreement_before, item.agreement_after) for item in exported.quantised]
    by_export = "quantize" in exported.seconds
    assert items == [("m", 1.0, 1.0)] * by_export
    if by_export:
        (change,) = exported.quantised
        assert change.same_label == change.same_vote > 0.7
        assert change.bytes_after < 0.6 * change.bytes_before
        assert "m in int8: the label of before on" in exported.summary()
        assert "m in int8" in page(exported)
        assert json.dumps(exported.to_mapping()["quantised"])


def test_scales_over_a_batch_are_warned_of(tmp_path: Path) -> None:
    file = integer_net(tmp_path, "dynamic")
    report = export_bag(bag_file(tmp_path, {"m": (file, "")}), tmp_path / "repository")
    assert any("dynamic.onnx: member m is quantised dynamically" in warning for warning in report.warnings)


def test_the_bag_quantises_every_member_that_does_not_say_otherwise(tmp_path: Path) -> None:
    members = {
        "a": (residual_net(tmp_path / "a.onnx", 0, 0, CLASSES, SIDE), ""),
        "b": (residual_net(tmp_path / "b.onnx", 1, 1, CLASSES, SIDE), 'quantize = "none"'),
    }
    report = export_bag(bag_file(tmp_path, members, 'quantize = "int8"'), tmp_path / "repository")
    assert [item.member for item in report.quantised] == ["a"]


@pytest.mark.parametrize(("top", "member"), [('quantize = "int4"', ""), ("", 'quantize = "int4"')])
def test_other_kinds_of_integers_are_refused(tmp_path: Path, top: str, member: str) -> None:
    file = bag_file(tmp_path, {"a": (tmp_path / "a.onnx", member)}, top)
    with pytest.raises(ConfigError, match=r"unknown quantize 'int4'.*allowed: int8, none"):
        BagFile.read(file)


def test_a_bag_without_the_key_quantises_nothing(tmp_path: Path) -> None:
    bag = BagFile.read(bag_file(tmp_path, {"a": (residual_net(tmp_path / "a.onnx", 0, 0, CLASSES, SIDE), "")}))
    assert (bag.quantize, bag.members[0].quantize) == ("none", "")
    assert dataclasses.replace(bag, quantize="int8").quantize == "int8"


@pytest.mark.triton
def test_triton_serves_integers_between_segments(triton: None, tmp_path: Path) -> None:
    members = {"m": (integer_net(tmp_path, "qdq"), "")}
    options = '[exit]\ntuner = "static"\ntuner_options = { thresholds = [1.0] }\nlossless = false\n'
    file = bag_file(tmp_path, members, name="tiny", more=options)
    report = export_bag(file, tmp_path / "repository")
    assert {output.dtype for output in report.manifest.members[0].segments[0].outputs} == {"int8"}
    with serve(report.output, state_dir=tmp_path / "state") as server:
        answers = [ask(server, "http", ROWS[:4], **wish) for wish in ({}, {"exit": "never"})]
    for answer in answers:
        (exit_,) = set(answer["EXIT"][:, 0].tolist())
        expected = vote_offline(report.output, exit_, ROWS[:4])
        np.testing.assert_allclose(answer["PROBABILITIES"], expected, rtol=1e-3, atol=1e-5)


def test_a_mask_of_a_quantised_text_member_is_made_again_and_not_carried(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = {
        "input_ids": rng.integers(3, VOCABULARY, size=(40, TOKENS)),
        "attention_mask": np.ones((40, TOKENS), np.int64),
    }
    torch.manual_seed(0)
    save_module(bert(CLASSES, layers=2), rows, tmp_path / "bert.onnx")
    text = quantise.quantise_member(load_member("bert", tmp_path / "bert.onnx", rows), rows)
    places = candidates(list(boundaries(text, nodecosts.measure(text.model, rows, "bert", COUNTED))), 1)
    late = [place for place in places if place.share > 0.4 and place.tensors[0].dtype == "uint8"]
    assert late and all(item.tensors[0].dims[-1] == 32 for item in late)
