"""Training the ramps: one linear layer each on frozen features, all at once, against the full ensemble's soft vote.

The labels are the ensemble's own votes, never the truth (Apparate, section 3.1), so unlabelled samples do, and a ramp
learns to say early what the full vote will say. All ramps see every row, so none depends on which others are active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from exeunt.errors import ConfigError

_EPOCHS = 60
_BATCH = 64
_LEARNING_RATE = 1e-2
_WEIGHT_DECAYS = (1e-3, 1e-1, 1.0)  # tried for each ramp; the held-out rows choose
_HELD_OUT = 0.15
_ONE_THREAD_OPERATIONS = 1 << 28  # multiplications of one step, about 0.1 s on one core


@dataclass(frozen=True, slots=True)
class Ramp:
    """A trained ramp: softmax(features @ weight + bias), standardisation folded in.

    Attributes:
        weight: float32 [f, classes].
        bias: float32 [classes].
    """

    weight: np.ndarray
    bias: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 [rows, classes], of features float32 [rows, f]."""
        scores = features @ self.weight + self.bias
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)


Key = tuple[str, int]  # member, depth


def train(
    features: Mapping[Key, np.ndarray], vote: np.ndarray, seed: int, progress: Callable[[int, int], None] | None = None
) -> dict[Key, Ramp]:
    """Train one ramp per cut.

    Adam with a falling step on cross-entropy against the soft vote; each ramp is trained with several weight decays
    side by side, and the one with the least cross-entropy on held-out rows is kept.

    Args:
        features: (member, depth) -> float32 [rows, f].
        vote: the full vote, float32 [rows, classes].
        seed: of the order of rows and the held-out part.
        progress: called with (epochs done, epochs).

    Raises:
        ConfigError: too few rows, or features that are not finite.
    """
    if not features:
        return {}
    rows = len(vote)
    if rows < 20:
        raise ConfigError(f"samples: {rows} rows are left for the ramps; give at least 20 (some hundreds do well)")
    for (member, depth), each in features.items():
        if not np.isfinite(each).all():
            raise ConfigError(f"samples: member {member}, cut {depth} gives features that are not finite numbers")
    order = np.random.default_rng(seed).permutation(rows)
    held = order[: max(2, int(rows * _HELD_OUT))]
    kept = order[len(held) :]
    fits = {key: _Fit(each[kept], each[held], vote.shape[1]) for key, each in features.items()}
    with _few_threads(list(fits.values())):
        _descend(list(fits.values()), torch.from_numpy(vote[kept]), seed, progress)
    target = torch.from_numpy(vote[held])
    return {key: fit.best(target) for key, fit in fits.items()}


class _Fit:
    """One ramp in training, once per weight decay: standardised features and parameters [decays, f + 1, classes]."""

    def __init__(self, kept: np.ndarray, held: np.ndarray, classes: int) -> None:
        self.mean = kept.mean(axis=0, dtype=np.float64)
        deviation = kept.std(axis=0, dtype=np.float64)
        # a feature that never moved in training would explode on the first input where it does
        self.scale = np.where(deviation > 1e-6, 1.0 / np.maximum(deviation, 1e-6), 0.0)
        self.kept = self._standardised(kept)
        self.held = self._standardised(held)
        shape = (len(_WEIGHT_DECAYS), kept.shape[1], classes)
        self.weight = torch.zeros(shape, requires_grad=True)
        self.bias = torch.zeros((len(_WEIGHT_DECAYS), 1, classes), requires_grad=True)
        # features are many where grids are fine: the same step on each would move the scores in proportion
        self.step = _LEARNING_RATE / float(np.sqrt(max(kept.shape[1] / 64, 1.0)))
        self.decay = torch.tensor(_WEIGHT_DECAYS).reshape(-1, 1, 1)

    def _standardised(self, features: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(((features - self.mean) * self.scale).astype(np.float32))

    def losses(self, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy per weight decay, [decays]."""
        scores = features @ self.weight + self.bias
        return -(target * torch.log_softmax(scores, dim=2)).sum(dim=2).mean(dim=1)

    def best(self, target: torch.Tensor) -> Ramp:
        with torch.no_grad():
            chosen = int(self.losses(self.held, target).argmin())
            weight = self.weight[chosen].numpy().astype(np.float64) * self.scale[:, None]
            bias = self.bias[chosen, 0].numpy().astype(np.float64) - self.mean @ weight
        return Ramp(weight.astype(np.float32), bias.astype(np.float32))


@contextmanager
def _few_threads(fits: list[_Fit]) -> Iterator[None]:
    """One thread for small ramps: handing over work that takes microseconds costs more, much more on a busy machine."""
    before = torch.get_num_threads()
    operations = _BATCH * sum(fit.weight.numel() for fit in fits)
    torch.set_num_threads(1 if operations < _ONE_THREAD_OPERATIONS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _descend(fits: list[_Fit], target: torch.Tensor, seed: int, progress: Callable[[int, int], None] | None) -> None:
    groups = [{"params": [fit.weight, fit.bias], "lr": fit.step} for fit in fits]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
    epochs = min(_EPOCHS, max(10, 20000 // len(target)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: max(0.02, 1 - epoch / epochs))
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(target), generator=generator).split(_BATCH):
            optimiser.zero_grad(set_to_none=True)
            goal = target[chosen]
            loss = torch.stack([fit.losses(fit.kept[chosen], goal).sum() for fit in fits]).sum()
            loss.backward()
            optimiser.step()
            _decay(fits, optimiser)
        schedule.step()
        if progress is not None:
            progress(epoch + 1, epochs)


def _decay(fits: list[_Fit], optimiser: torch.optim.Optimizer) -> None:
    """Weight decay apart from the gradient, as in AdamW, one strength per copy."""
    with torch.no_grad():
        for fit, group in zip(fits, optimiser.param_groups, strict=True):
            fit.weight.mul_(1 - group["lr"] * fit.decay)
