"""The digits bag's members: three nets with convolutions drawn by chance and trained layers on top.

No torch: it would be most of what the demo installs, and of the image that fills an empty volume. Convolutions that
nobody trains make good features for small images (Jarrett et al., ICCV 2009); scikit-learn trains the perceptron on top
of them. Members differ in their convolutions, in the images that they were trained on (Breiman's bagging) and in the
noise on them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from exeunt.demo import data
from exeunt.demo.data import TRAINED_NOISE, DigitsPart
from exeunt.demo.members_onnx import Layers, features, write_onnx

EPOCHS = 8
COPIES = 8  # of each training image, each under noise of its own
Progress = Callable[[str, int, int], None]  # member, epochs done, epochs in all


@dataclass(frozen=True, slots=True)
class Plan:
    """What a member is made of.

    Attributes:
        channels: of the convolutions; each but the first halves the image.
        kernel: side of the convolutions, odd.
        units: of the trained layers before the last.
    """

    channels: tuple[int, ...]
    kernel: int
    units: tuple[int, ...]


PLANS = {
    "fine": Plan((32, 64, 96), 3, (160, 80)),
    "coarse": Plan((24, 48, 64), 5, (160, 80)),
    "broad": Plan((48, 96, 64), 3, (128, 64)),
}


def train_all(
    part: DigitsPart, seed: int, folder: Path, progress: Progress = lambda *step: None, epochs: int = EPOCHS
) -> None:
    """Train every member on `part` and write it, `MEMBER.onnx`, into a folder."""
    for number, (name, plan) in enumerate(PLANS.items()):
        kernels = drawn(plan, np.random.default_rng(seed + number))
        layers = _trained(part, kernels, plan.units, seed + number, epochs, partial(progress, name))
        write_onnx(kernels, layers, folder / f"{name}.onnx")


def drawn(plan: Plan, rng: np.random.Generator) -> list[np.ndarray]:
    """Convolutions by chance that keep the spread of their input; float32 [channels, channels before, side, side]."""
    before, kernels = 1, []
    for channels in plan.channels:
        shape = (channels, before, plan.kernel, plan.kernel)
        kernels.append((rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32))
        before = channels
    return kernels


def _trained(
    part: DigitsPart,
    kernels: Sequence[np.ndarray],
    units: tuple[int, ...],
    seed: int,
    epochs: int,
    progress: Callable[[int, int], None],
) -> Layers:
    """The layers on top of the convolutions; `progress` is called after each epoch."""
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(seed)
    sample = data.bootstrap(part, seed)
    net = MLPClassifier(units, alpha=1e-3, batch_size=64, random_state=seed)
    for epoch in range(epochs):
        rows = rng.permutation(np.repeat(np.arange(len(sample)), COPIES))
        images = data.with_noise(sample.images[rows], rng.uniform(0.0, TRAINED_NOISE, len(rows)), rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of each epoch scikit-learn says that it is not the last
            net.partial_fit(features(kernels, images), sample.labels[rows], classes=np.arange(len(data.CLASSES)))
        progress(epoch + 1, epochs)
    pairs = zip(net.coefs_, net.intercepts_, strict=True)
    return [(weights.astype(np.float32), biases.astype(np.float32)) for weights, biases in pairs]
