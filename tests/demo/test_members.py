"""The digits bag's members."""

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("onnx_ir", reason="pip install 'exeunt[export]'")
pytest.importorskip("sklearn", reason="pip install scikit-learn")
from exeunt.demo import data
from exeunt.demo import members as digits_members
from exeunt.demo.members_onnx import features, write_onnx


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Every member, trained, as a session."""
    folder = tmp_path_factory.mktemp("members")
    digits_members.train_all(data.digits(0).train, 0, folder, epochs=2)
    return {name: onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in digits_members.PLANS}


@pytest.fixture(scope="module")
def votes(members):
    """Labels of a noisy stream by member, and those of all together."""
    stream = data.drifting_stream(data.digits(0).test, 500, seed=3)
    scores = {name: session.run(["logits"], {"image": stream.images})[0] for name, session in members.items()}
    probabilities = [np.exp(score) / np.exp(score).sum(axis=1, keepdims=True) for score in scores.values()]
    right = {name: float((score.argmax(axis=1) == stream.labels).mean()) for name, score in scores.items()}
    return right, float((np.mean(probabilities, axis=0).argmax(axis=1) == stream.labels).mean())


def test_every_member_has_learnt(votes):
    right, _ = votes
    assert min(right.values()) > 0.7


def test_the_vote_is_better_than_the_mean_member(votes):
    right, vote = votes
    assert vote > np.mean(list(right.values())) + 0.01


def test_the_trained_layers_stand_on_the_convolutions_that_they_were_trained_on(tmp_path):
    rng = np.random.default_rng(0)
    kernels = digits_members.drawn(digits_members.PLANS["broad"], rng)
    images = rng.normal(size=(3, 1, 32, 32)).astype(np.float32)
    activations = features(kernels, images)
    weights, biases = rng.normal(size=(activations.shape[1], 10)).astype(np.float32), np.arange(10, dtype=np.float32)
    write_onnx(kernels, [(weights, biases)], tmp_path / "one.onnx")
    (logits,) = onnxruntime.InferenceSession(tmp_path / "one.onnx").run(None, {"image": images})
    np.testing.assert_allclose(logits, activations @ weights + biases, rtol=1e-4, atol=1e-3)


def test_the_same_seed_draws_the_same_convolutions():
    first, second = (digits_members.drawn(digits_members.PLANS["fine"], np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
