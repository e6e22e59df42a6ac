import dataclasses

import numpy as np
import onnx.parser
import onnxruntime
import pytest
from numpy.testing import assert_allclose

from exeunt.errors import ConfigError, ServingError
from exeunt.serving.checks.onnx_contract import ModelConfig, TensorPort
from exeunt.serving.onnx_model import OnnxModel
from tests.serving.repository import FIRST, LOOKUP, SEGMENT_1

CONFIG = ModelConfig("s1", 8, (TensorPort("IMAGE", "TYPE_FP32", (4,)),), (TensorPort("cut", "TYPE_FP32", (5,)),), {})
LOOK = ModelConfig("look", 8, (TensorPort("INDEX", "TYPE_INT64", (1,)),), (TensorPort("ROW", "TYPE_FP32", (1, 5)),), {})


@pytest.fixture
def load(tmp_path):
    def load(text, config):
        onnx.save(onnx.parser.parse_model(text), str(tmp_path / "model.onnx"))
        return OnnxModel(tmp_path / "model.onnx", config)

    return load


def rows(*counts):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(count, 4)).astype(np.float32) for count in counts]


def test_requests_of_one_batch_get_their_own_rows_back(load):
    inputs = rows(1, 3, 2)
    answers = load(SEGMENT_1, CONFIG).run_many([({"IMAGE": item}, ["cut"]) for item in inputs])
    for item, answer in zip(inputs, answers, strict=True):
        assert_allclose(answer["cut"], item @ FIRST, rtol=1e-5)


def test_only_the_request_that_cannot_be_answered_gets_the_error(load):
    items = [np.array([[index]], dtype=np.int64) for index in (0, 99, 2)]
    good, bad, other = load(LOOKUP, LOOK).run_many([({"INDEX": item}, ["ROW"]) for item in items])
    assert_allclose(good["ROW"][0, 0], FIRST[0])
    assert_allclose(other["ROW"][0, 0], FIRST[2])
    assert isinstance(bad, ServingError)
    assert "'look'" in str(bad)


def test_zeros_have_the_rows_of_the_input_and_the_declared_type(load):
    zeros = load(LOOKUP, LOOK).zeros({"INDEX": np.array([[0], [99]], dtype=np.int64)}, ["ROW"])
    assert (zeros["ROW"].shape, zeros["ROW"].dtype, zeros["ROW"].any()) == ((2, 1, 5), np.float32, False)


def test_thread_counts_are_numbers(load):
    with pytest.raises(ConfigError, match="intra_op_thread_count = 'two'"):
        load(SEGMENT_1, dataclasses.replace(CONFIG, parameters={"intra_op_thread_count": "two"}))


def test_a_file_that_is_no_onnx_is_refused_by_name(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ConfigError, match=r"model 's1': .*model\.onnx cannot be loaded"):
        OnnxModel(tmp_path / "model.onnx", CONFIG)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"model 's1': .*model\.onnx cannot be loaded"):
        OnnxModel(tmp_path / "model.onnx", CONFIG)


def test_a_gpu_instance_runs_on_the_cpu_where_onnxruntime_has_no_cuda(tmp_path):
    onnx.save(onnx.parser.parse_model(SEGMENT_1), str(tmp_path / "model.onnx"))
    model = OnnxModel(tmp_path / "model.onnx", CONFIG, device_id=0)
    assert model.on_gpu == ("CUDAExecutionProvider" in onnxruntime.get_available_providers())
