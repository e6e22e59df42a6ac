"""Models that would export and then answer wrongly: refused, or put right."""

import itertools
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from exeunt.errors import ConfigError
from exeunt_export.bagfile.bagfile import BagFile
from exeunt_export.export_progress import Stages
from exeunt_export.planning.opening import open_bag
from exeunt_export.readers.graph import load_member

ROWS = np.random.default_rng(0).standard_normal((60, 16)).astype(np.float32)
make = onnx.helper  # noqa: TID251 - as other exporters write them, not as we do


def base(path, front=(), back=(), name="x", classes=5, seed=0, metadata=None, domains=()):
    """x [N, 16] -> front -> Gemm, Relu, Gemm, Relu, Gemm -> back -> [N, classes]."""
    rng = np.random.default_rng(seed)
    sizes = (16, 12, 8, classes)
    weights, nodes, at = [], list(front), "front" if front else name
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        weights.append(numpy_helper.from_array(rng.standard_normal((before, after)).astype(np.float32), f"w{number}"))
        nodes.append(make.make_node("Gemm", [at, f"w{number}"], [f"g{number}"]))
        at = f"g{number}"
        if number < 2:
            nodes.append(make.make_node("Relu", [at], [f"r{number}"]))
            at = f"r{number}"
    nodes += [make.make_node(op, [at], ["y"], **attributes) for op, attributes in back]
    last = "y" if back else at
    weights += [numpy_helper.from_array(np.array([0], dtype=np.int64), "zero")]
    graph = make.make_graph(
        nodes,
        "base",
        [make.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 16])],
        [make.make_tensor_value_info(last, TensorProto.FLOAT, ["N", classes])],
        weights,
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def opened(folder, members, labels=None):
    lines = ['name = "b"', 'mode = "engine"', 'samples = "s.npy"']
    lines += [f"labels = {json.dumps(labels)}"] if labels else []
    for file in members:
        lines += ["[[member]]", f'name = "{file.stem}"', f'file = "{file.name}"']
    np.save(folder / "s.npy", ROWS)
    (folder / "bag.toml").write_text("\n".join(lines))
    return open_bag(BagFile.read(folder / "bag.toml"), None, Stages(lambda stage, steps, total: None))


def test_a_softmax_over_the_batch_is_refused_by_its_node(tmp_path):
    path = base(tmp_path / "m.onnx", back=[("Softmax", {"axis": 0})])
    with pytest.raises(ConfigError, match=r"rows beside it in the batch.*the first to mix them is Softmax"):
        load_member("m", path, {"x": ROWS})


def test_a_mean_over_the_batch_is_refused_by_its_node(tmp_path):
    front = [
        make.make_node("ReduceMean", ["x", "zero"], ["mean"]),
        make.make_node("Sub", ["x", "mean"], ["front"]),
    ]
    with pytest.raises(ConfigError, match="the first to mix them is ReduceMean"):
        load_member("m", base(tmp_path / "m.onnx", front=front), {"x": ROWS})


def test_a_member_whose_rows_do_not_mix_is_taken(tmp_path):
    assert load_member("m", base(tmp_path / "m.onnx"), {"x": ROWS}).classes == 5


@pytest.mark.parametrize("name", ["TICKET", "LABEL", "EXIT", "PROBABILITIES", "REASON", "RISK", "TOP_LABELS", "TAP_0"])
def test_a_public_input_with_one_of_our_names_is_refused_with_the_cure(tmp_path, name):
    with pytest.raises(ConfigError, match=f"inputs = {{ {name} = "):
        opened(tmp_path, [base(tmp_path / "m.onnx", name=name)])


def test_a_labeller_of_sequences_is_refused(tmp_path):
    shapes = [
        numpy_helper.from_array(np.array(shape, dtype=np.int64), f"s{k}")
        for k, shape in enumerate(([4, 1, 4], [-1, 5]))
    ]
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32), "w")
    nodes = [
        make.make_node("Reshape", ["x", "s0"], ["a"]),
        make.make_node("MatMul", ["a", "w"], ["b"]),
        make.make_node("Reshape", ["b", "s1"], ["y"]),
    ]
    graph = make.make_graph(
        nodes,
        "tags",
        [make.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [make.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 5])],
        [*shapes, weight],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="1 row in, 4 out"):
        load_member("m", tmp_path / "m.onnx", {"x": ROWS})


NAMES = ["cat", "dog", "eel", "fox", "gnu"]


def permuted(path, order):
    """The member of seed 0 with its columns, and their names, in another order."""
    model = onnx.load(base(path))
    for weight in model.graph.initializer:
        if weight.name == "w2":
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[:, order], "w2"))
    model.metadata_props.add(key="names", value=str({place: NAMES[k] for place, k in enumerate(order)}))
    onnx.save(model, path)
    return path


def votes(graph):
    import onnxruntime

    from exeunt_export import onnxfiles

    session = onnxfiles.open_in_memory(graph.model, "m")
    assert isinstance(session, onnxruntime.InferenceSession)
    return onnxfiles.run(session, {"x": ROWS[:8]}, "m")["PROBABILITIES"]


def test_members_that_know_the_same_classes_in_another_order_are_brought_into_the_bags(tmp_path):
    plain, mixed = permuted(tmp_path / "a.onnx", [0, 1, 2, 3, 4]), permuted(tmp_path / "b.onnx", [3, 0, 4, 1, 2])
    bag = opened(tmp_path, [plain, mixed])
    assert bag.labels == tuple(NAMES)
    first, second = (votes(measured.member) for measured in bag.members)
    np.testing.assert_allclose(first, second, rtol=1e-5)


def test_labels_in_another_order_than_the_files_put_its_columns_there(tmp_path):
    bag = opened(tmp_path, [permuted(tmp_path / "a.onnx", [0, 1, 2, 3, 4])], labels=NAMES[::-1])
    alone = load_member("m", base(tmp_path / "plain.onnx"), {"x": ROWS})
    np.testing.assert_allclose(votes(bag.members[0].member)[:, ::-1], votes(alone), rtol=1e-5)


def test_members_of_other_classes_are_refused(tmp_path):
    other = base(tmp_path / "b.onnx", metadata={"names": str(dict(enumerate(["ant", *NAMES[1:]])))})
    with pytest.raises(ConfigError, match="member b: the file names other classes"):
        opened(tmp_path, [permuted(tmp_path / "a.onnx", [0, 1, 2, 3, 4]), other])


def test_transformers_names_beside_the_file_become_the_labels(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {str(k): name for k, name in enumerate(NAMES)}}))
    assert opened(tmp_path, [base(tmp_path / "m.onnx")]).labels == tuple(NAMES)


def test_numbers_that_only_count_the_columns_are_no_names(tmp_path):
    path = base(tmp_path / "m.onnx", metadata={"names": str(dict(enumerate("01234")))})
    assert opened(tmp_path, [path], labels=NAMES).labels == tuple(NAMES)
