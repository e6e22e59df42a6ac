"""What is probably not meant: scores of each class by itself, mistaken ends of a graph, silent or constant members."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exeunt.errors import ConfigError
from exeunt.serving.checks.repository import check_repository
from exeunt_export.export_bag import export_bag
from exeunt_export.readers.graph import load_member
from exeunt_export.report.oddities import oddity_warnings
from tests.export.readers.test_silent_faults import NAMES, ROWS, base, make, votes

SIGMOID = [("Sigmoid", {})]
FLOAT = onnx.TensorProto.FLOAT


def saved(path, nodes, inputs, outputs, weights):
    inputs, outputs = ([(name, FLOAT, dims) for name, dims in ends.items()] for ends in (inputs, outputs))
    infos = [[make.make_tensor_value_info(*end) for end in ends] for ends in (inputs, outputs)]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = make.make_graph(nodes, "m", *infos, constants)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9), path)
    return path


def weight(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_sigmoid_for_each_class_is_refused_with_both_readings(tmp_path):
    with pytest.raises(ConfigError, match=r'ends in Sigmoid.*multi-label.*scores = "one_vs_rest"'):
        load_member("m", base(tmp_path / "m.onnx", back=SIGMOID), {"x": ROWS})


def test_numbers_in_0_to_1_that_do_not_sum_to_1_are_refused(tmp_path):
    path = base(tmp_path / "m.onnx", back=[("Softplus", {})])
    model = onnx.load(path)
    model.graph.node[-1].op_type = "Tanh"
    model.graph.node.append(make.make_node("Abs", ["y"], ["z"]))
    model.graph.output[0].name = "z"
    onnx.save(model, path)
    with pytest.raises(ConfigError, match=r"lies in 0\.\.1, and rows do not sum to 1"):
        load_member("m", path, {"x": ROWS})


def test_one_vs_rest_keeps_the_order_of_classes_and_sums_to_1(tmp_path):
    path = base(tmp_path / "m.onnx", back=SIGMOID)
    plain = votes(load_member("m", base(tmp_path / "plain.onnx"), {"x": ROWS}))
    one_vs_rest = votes(load_member("m", path, {"x": ROWS}, scores="one_vs_rest"))
    np.testing.assert_allclose(one_vs_rest.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(one_vs_rest.argmax(axis=1), plain.argmax(axis=1))


def test_one_vs_rest_of_logits_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'leave 0\.\.1 .*allowed: scores = "logits"'):
        load_member("m", base(tmp_path / "m.onnx"), {"x": ROWS}, scores="one_vs_rest")


def test_probabilities_that_are_none_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'scores = "probabilities", but rows of output .* sum to'):
        load_member("m", base(tmp_path / "m.onnx", back=SIGMOID), {"x": ROWS}, scores="probabilities")


def bag_of(folder, more="", **members):
    lines = ['name = "b"', 'mode = "engine"', 'samples = "s.npy"', more]
    for name, table in members.items():
        lines += ["[[member]]", f'name = "{name}"', f'file = "{name}.onnx"', table]
    lines += ["[cuts]", 'times = "counted"', "exits = 1", "ramp_budget = 1000", "[serving]", "max_batch_size = 2"]
    np.save(folder / "s.npy", ROWS)
    (folder / "bag.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "bag.toml"


def test_a_bag_of_one_vs_rest_passes_its_check(tmp_path):
    base(tmp_path / "m.onnx", back=SIGMOID)
    report = export_bag(bag_of(tmp_path, m='scores = "one_vs_rest"'), tmp_path / "repository")
    assert check_repository(report.output).problems == ()


def two_outputs(path):
    nodes = [
        make.make_node("MatMul", ["x", "a"], ["embedding"]),
        make.make_node("MatMul", ["embedding", "b"], ["scores"]),
    ]
    outputs = {"embedding": ["N", 12], "scores": ["N", 5]}
    return saved(path, nodes, {"x": ["N", 16]}, outputs, {"a": weight(16, 12), "b": weight(12, 5)})


def test_of_several_outputs_the_one_of_the_labels_size_is_proposed(tmp_path):
    two_outputs(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match='output = "scores", which has as many classes as there are labels'):
        export_bag(bag_of(tmp_path, f"labels = {json.dumps(NAMES)}", m=""), tmp_path / "repository")


def test_without_labels_no_output_is_proposed(tmp_path):
    with pytest.raises(ConfigError, match=r"output = its name in its \[\[member\]\]"):
        load_member("m", two_outputs(tmp_path / "m.onnx"), {"x": ROWS})


def test_an_output_with_classes_first_is_called_transposed(tmp_path):
    nodes = [make.make_node("MatMul", ["x", "a"], ["s"]), make.make_node("Transpose", ["s"], ["y"], perm=[1, 0])]
    path = saved(tmp_path / "m.onnx", nodes, {"x": ["N", 16]}, {"y": [5, "N"]}, {"a": weight(16, 5)})
    with pytest.raises(ConfigError, match="classes stand where rows should; transpose it"):
        load_member("m", path, {"x": ROWS})


def test_an_axis_of_a_state_is_not_called_the_batch(tmp_path):
    nodes = [
        make.make_node("ReduceSum", ["layers", "zero"], ["s"], keepdims=0),
        make.make_node("Concat", ["x", "s"], ["both"], axis=1),
        make.make_node("MatMul", ["both", "a"], ["y"]),
    ]
    weights = {"a": weight(18, 5), "zero": np.array([0])}
    path = saved(tmp_path / "m.onnx", nodes, {"x": ["N", 16], "layers": [2, "N", 2]}, {"y": ["N", 5]}, weights)
    with pytest.raises(ConfigError, match=r"input 'layers' has shape .*its first axis is one of its own, of 2"):
        load_member("m", path, {"x": ROWS, "layers": np.zeros((60, 60, 2), np.float32)})


def test_a_member_without_finite_votes_is_told_of_with_the_count():
    votes_ = np.full((60, 5), 0.2, np.float32)
    votes_[:48] = np.nan
    moving = np.random.default_rng(0).dirichlet(np.ones(5), 60).astype(np.float32)
    warnings = oddity_warnings(
        {"x": ROWS}, {"good": moving, "bad": np.where(np.isnan(votes_), np.nan, moving)}, tuple(NAMES)
    )
    assert len(warnings) == 1 and "bad on 48 of 60" in warnings[0]


def test_members_that_always_say_the_same_are_told_of_in_one_warning():
    same = np.tile(np.float32([0.6, 0.1, 0.1, 0.1, 0.1]), (60, 1))
    (warnings,) = oddity_warnings({"x": ROWS}, {"a": same, "b": same}, tuple(NAMES))
    assert "a ('cat' on all 60), b ('cat' on all 60)" in warnings


def test_samples_that_are_all_one_row_are_told_of():
    moving = np.random.default_rng(0).dirichlet(np.ones(5), 60).astype(np.float32)
    (warnings,) = oddity_warnings({"x": np.repeat(ROWS[:1], 60, axis=0)}, {"m": moving}, tuple(NAMES))
    assert "the 60 samples are all the same" in warnings


def test_an_export_of_one_repeated_row_warns_of_it_once(tmp_path):
    base(tmp_path / "m.onnx"), base(tmp_path / "n.onnx", seed=1)
    bag = bag_of(tmp_path, m="", n="")
    np.save(tmp_path / "s.npy", np.repeat(ROWS[:1], 60, axis=0))
    warnings = export_bag(bag, tmp_path / "repository").warnings
    assert sum("samples are all the same" in warning for warning in warnings) == 1
    assert sum("the same answer to every sample: m (" in warning for warning in warnings) == 1


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_member_with_nan_on_many_rows_is_exported_with_one_warning_or_refused_plainly(tmp_path, share):
    """log of a number that is negative on some rows."""
    nodes = [
        make.make_node("Add", ["x", "shift"], ["moved"]),
        make.make_node("Log", ["moved"], ["logs"]),
        make.make_node("MatMul", ["logs", "a"], ["y"]),
    ]
    shift = np.full(16, -float(np.quantile(ROWS.min(axis=1), share)), np.float32)
    weights = {"a": weight(16, 5), "shift": shift}
    saved(tmp_path / "m.onnx", nodes, {"x": ["N", 16]}, {"y": ["N", 5]}, weights)
    base(tmp_path / "n.onnx")
    report = export_bag(bag_of(tmp_path, m="", n=""), tmp_path / "repository")
    assert sum("no finite probabilities on sample rows: m on" in warning for warning in report.warnings) == 1


def test_ramps_that_never_pay_are_one_warning(tmp_path):
    base(tmp_path / "m.onnx")
    bag = bag_of(tmp_path, m="")
    bag.write_text(bag.read_text(encoding="utf-8").replace("exits = 1", "exits = 3"), encoding="utf-8")
    warnings = export_bag(bag, tmp_path / "repository").warnings
    assert sum("never pay" in warning for warning in warnings) <= 1


def test_the_table_and_the_strip_of_the_page_have_one_share(tmp_path):
    base(tmp_path / "m.onnx")
    report = export_bag(bag_of(tmp_path, m=""), tmp_path / "repository")
    costs = [segment.cost_us[1] for segment in report.manifest.members[0].segments]
    assert [cut.share for cut in report.cuts] == pytest.approx([costs[0] / sum(costs)])


def test_an_input_of_text_is_refused_with_the_cure(tmp_path):
    nodes = [
        make.make_node(
            "LabelEncoder", ["city"], ["code"], domain="ai.onnx.ml", keys_strings=["Graz"], values_floats=[1.0]
        ),
        make.make_node("MatMul", ["code", "a"], ["y"]),
    ]
    ends = (
        (make.make_tensor_value_info("city", onnx.TensorProto.STRING, ["N", 1]),),
        (make.make_tensor_value_info("y", FLOAT, ["N", 5]),),
    )
    graph = make.make_graph(nodes, "m", *ends, [numpy_helper.from_array(weight(1, 5), "a")])
    opsets = [make.make_opsetid("", 18), make.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(make.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match=r"input 'city' holds text; a bag takes numbers: encode it before"):
        load_member("m", tmp_path / "m.onnx", {"city": np.ones((60, 1), np.float32)})
