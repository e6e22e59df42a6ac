import numpy as np
import pytest
from numpy.testing import assert_allclose

from exeunt.errors import ConfigError
from exeunt.serving.checks.onnx_contract import ModelConfig, TensorPort
from exeunt_backends.vote.full_vote import FullVote

A = np.array([[0.9, 0.1], [0.4, 0.6]], dtype=np.float32)
B = np.array([[0.2, 0.8], [0.3, 0.7]], dtype=np.float32)


def config(**parameters: str) -> ModelConfig:
    inputs = (TensorPort("a.2", "TYPE_FP32", (2,)), TensorPort("b.3", "TYPE_FP32", (2,)))
    outputs = (TensorPort("PROBABILITIES", "TYPE_FP32", (2,)), TensorPort("LABEL", "TYPE_INT64", (1,)))
    return ModelConfig("bag_vote", 8, inputs, outputs, parameters)


def test_weights_follow_the_order_of_the_inputs():
    outputs = FullVote.from_config(config(weights="3,1"))({"b.3": B, "a.2": A})
    assert_allclose(outputs["PROBABILITIES"], (3 * A + B) / 4, rtol=1e-6)
    assert outputs["LABEL"].tolist() == [[0], [1]]
    assert outputs["LABEL"].dtype == np.int64


def test_a_hard_vote_counts_labels():
    outputs = FullVote.from_config(config(weights="3, 1", vote="hard"))({"a.2": A, "b.3": B})
    assert_allclose(outputs["PROBABILITIES"], [[0.75, 0.25], [0.0, 1.0]])


@pytest.mark.parametrize("weights", ["", "1", "1,x", "1,0", "1,nan", "1,2,3"])
def test_weights_that_do_not_fit_the_inputs_are_refused(weights):
    with pytest.raises(ConfigError, match=r"bag_vote.*weights = .*a\.2, b\.3"):
        FullVote.from_config(config(weights=weights))


def test_an_unknown_vote_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'soft'"):
        FullVote.from_config(config(weights="1,1", vote="softt"))
