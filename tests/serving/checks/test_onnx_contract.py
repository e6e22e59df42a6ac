import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.errors import ConfigError
from exeunt.serving.checks.onnx_contract import ModelConfig, TensorPort, check_contract

IMAGE = TensorPort("IMAGE", "TYPE_FP32", (-1, 3, 8))
CUT = TensorPort("cut", "TYPE_FP32", (-1, 5))
CONFIG = ModelConfig("m", 8, (TensorPort("IMAGE", "TYPE_FP32", (3, 8)),), (TensorPort("cut", "TYPE_FP32", (5,)),), {})


def refused(
    config: ModelConfig, *, inputs: tuple[TensorPort, ...] = (IMAGE,), outputs: tuple[TensorPort, ...] = (CUT,)
) -> str:
    with pytest.raises(ConfigError) as caught:
        check_contract(config, inputs, outputs)
    return str(caught.value)


def with_input(**changes: object) -> ModelConfig:
    return dataclasses.replace(CONFIG, inputs=(dataclasses.replace(CONFIG.inputs[0], **changes),))


def with_output(**changes: object) -> ModelConfig:
    return dataclasses.replace(CONFIG, outputs=(dataclasses.replace(CONFIG.outputs[0], **changes),))


def test_a_config_that_agrees_is_accepted():
    check_contract(CONFIG, [IMAGE], [CUT])


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (with_input(dims=(3, 9)), ["'m'", "'IMAGE'", "[-1, 3, 9]", "[-1, 3, 8]"]),
        (with_input(dims=(24,)), ["'IMAGE'", "[-1, 24]", "[-1, 3, 8]"]),
        (with_input(dims=(3, -1)), ["'IMAGE'", "[-1, 3, -1]", "[-1, 3, 8]"]),
        (with_input(type="TYPE_FP64"), ["'IMAGE'", "TYPE_FP64", "TYPE_FP32"]),
        (with_input(name="IMAGES"), ["'IMAGES'", "which has IMAGE"]),
        (with_input(optional=True), ["'IMAGE'", "optional"]),
        (dataclasses.replace(CONFIG, inputs=()), ["0 tensors (none)", "1 (IMAGE)"]),
        (with_output(dims=(6,)), ["'cut'", "[-1, 6]", "[-1, 5]"]),
        (with_output(name="cuts"), ["'cuts'", "which has cut"]),
        (with_output(type="TYPE_INT64"), ["'cut'", "TYPE_INT64", "TYPE_FP32"]),
    ],
)
def test_a_config_that_disagrees_is_refused_by_tensor_expected_and_got(config, parts):
    message = refused(config)
    assert all(item in message for item in parts), message


def test_a_fixed_batch_dimension_is_refused():
    assert "no batch of 8" in refused(CONFIG, inputs=(TensorPort("IMAGE", "TYPE_FP32", (1, 3, 8)),))


def test_without_batching_the_dims_are_the_whole_shape():
    config = ModelConfig("m", 0, (TensorPort("x", "TYPE_FP32", (1, 3)),), (TensorPort("y", "TYPE_FP32", (1, 2)),), {})
    check_contract(config, [TensorPort("x", "TYPE_FP32", (1, 3))], [TensorPort("y", "TYPE_FP32", (1, 2))])


def test_a_free_dimension_of_the_file_takes_any_size_of_an_input_but_not_of_an_output():
    check_contract(CONFIG, [TensorPort("IMAGE", "TYPE_FP32", (-1, -1, -1))], [CUT])
    assert "'cut'" in refused(CONFIG, outputs=(TensorPort("cut", "TYPE_FP32", (-1, -1)),))


def test_outputs_that_nobody_asks_for_are_allowed():
    check_contract(CONFIG, [IMAGE], [CUT, TensorPort("more", "TYPE_FP32", (-1, 2))])


@given(st.lists(st.integers(1, 9), max_size=4), st.lists(st.integers(1, 9), max_size=4))
def test_dims_are_accepted_exactly_where_they_are_equal(declared, present):
    config = with_output(dims=tuple(declared))
    outputs = (TensorPort("cut", "TYPE_FP32", (-1, *present)),)
    if declared == present:
        check_contract(config, [IMAGE], outputs)
    else:
        refused(config, outputs=outputs)


def test_triton_and_protobuf_write_the_same_config():
    port = {"name": "x", "data_type": "TYPE_FP32"}
    parameters = {"intra_op_thread_count": {"string_value": "1"}}
    table = {"name": "m", "max_batch_size": 4, "parameters": parameters}
    triton = ModelConfig.from_json(table | {"input": [port | {"dims": [3], "optional": False}]})
    protobuf = ModelConfig.from_json(table | {"input": [port | {"dims": ["3"]}]})
    assert triton == protobuf
    assert triton.parameters == {"intra_op_thread_count": "1"}
