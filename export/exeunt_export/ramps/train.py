"""Training the ramps: one linear layer each on frozen features, all at once, against the full ensemble's soft vote.

The labels are the ensemble's own votes, never the truth (Apparate, section 3.1), so unlabelled samples do, and a ramp
learns to say early what the full vote will say. All ramps see every row, so none depends on which others are active.

Features are read in chunks from wherever they lie, and ramps are trained in groups, so that a large bag needs no more
memory than a small one: of the features at most one chunk of a group is held.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from exeunt.deciding.heads import Head
from exeunt.errors import ConfigError
from exeunt_export.features import CHUNK_ROWS, Shuffled, Standard, chunks
from exeunt_export.mapped import let_go

_EPOCHS = 60
_BATCH = 64
_LEARNING_RATE = 1e-2
_WEIGHT_DECAYS = (1e-3, 1e-1, 1.0)  # tried for each ramp; the held-out rows choose
_HELD_OUT = 0.15
GROUP_BYTES = 1 << 28  # of features and parameters of the ramps that are trained side by side
_ONE_THREAD_OPERATIONS = 1 << 28  # multiplications of one step, about 0.1 s on one core


@dataclass(frozen=True, slots=True)
class OwnRamp:
    """An exit that the member brings itself: its features are its probabilities.

    Attributes:
        classes: number of them.
    """

    classes: int

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """The features as they are, float32 [rows, classes]."""
        return np.asarray(features)


AnyRamp = Head | OwnRamp
Key = tuple[str, int]  # member, depth


def train(
    features: Mapping[Key, np.ndarray],
    vote: np.ndarray,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    rows: np.ndarray | None = None,
    chunk_rows: int = CHUNK_ROWS,
    group_bytes: int = GROUP_BYTES,
) -> dict[Key, Head]:
    """Train one ramp per cut.

    Adam with a falling step on cross-entropy against the soft vote; each ramp is trained with several weight decays
    side by side, and the one with the least cross-entropy on held-out rows is kept. Rows are put into a random order
    once, and into another within every chunk in each epoch.

    Args:
        features: (member, depth) -> float32 [all rows, f], in memory or mapped.
        vote: the full vote on the rows to train on, float32 [rows, classes].
        seed: of the order of rows and the held-out part.
        progress: called with (epochs done, epochs), all groups of ramps together.
        rows: numbers of the rows to train on, int64 [rows]; None = all.
        chunk_rows: most rows of features that are held in memory.
        group_bytes: of features and parameters that are held; the ramps beyond are trained in further groups.

    Raises:
        ConfigError: too few rows, or features that are not finite.
    """
    if not features:
        return {}
    count = len(vote)
    if count < 20:
        raise ConfigError(f"samples: {count} rows are left for the ramps; give at least 20 (some hundreds do well)")
    order = np.random.default_rng(seed).permutation(count)
    held, kept = np.split(order, [max(2, int(count * _HELD_OUT))])
    taken = np.arange(count) if rows is None else rows
    groups = _groups(features, vote.shape[1], chunk_rows, group_bytes)
    trained: dict[Key, Head] = {}
    for number, keys in enumerate(groups):
        with tempfile.TemporaryDirectory() as scratch:
            fits = {
                key: _Fit(key, features[key], taken[kept], taken[held], vote.shape[1], chunk_rows, Path(scratch))
                for key in keys
            }

            def advance(done: int, of: int, before: int = number) -> None:
                if progress is not None:
                    progress(before * of + done, len(groups) * of)

            with _few_threads(list(fits.values())):
                _descend(list(fits.values()), vote[kept], seed, chunk_rows, advance)
            trained |= {key: fit.best(torch.from_numpy(vote[held])) for key, fit in fits.items()}
            del fits
        let_go(*(features[key] for key in keys))
    return trained


def _groups(features: Mapping[Key, np.ndarray], classes: int, chunk_rows: int, most_bytes: int) -> list[list[Key]]:
    """Ramps that are trained side by side: as many as the memory set aside for it holds, in order."""
    found: list[list[Key]] = []
    used = 0
    for key, feature in features.items():
        held = 4 * feature.shape[1] * (min(chunk_rows, feature.shape[0]) + 4 * len(_WEIGHT_DECAYS) * classes)
        if not found or used + held > most_bytes:
            found.append([])
            used = 0
        found[-1].append(key)
        used += held
    return found


class _Fit:
    """One ramp in training, once per weight decay: standardised features and parameters [decays, f + 1, classes]."""

    def __init__(
        self,
        key: Key,
        features: np.ndarray,
        kept: np.ndarray,
        held: np.ndarray,
        classes: int,
        chunk_rows: int,
        scratch: Path,
    ) -> None:
        for part in chunks(len(held), chunk_rows):
            _check_finite(key, features[held[part]])
        self.standard = Standard.of(features, kept, chunk_rows)
        _check_finite(key, self.standard.mean)
        member, depth = key
        self.kept = Shuffled(features, kept, self.standard, chunk_rows, scratch / f"{member}_{depth}.npy")
        self._features, self._held, self._chunk_rows = features, held, chunk_rows
        width = features.shape[1]
        self.weight = torch.zeros((len(_WEIGHT_DECAYS), width, classes), requires_grad=True)
        self.bias = torch.zeros((len(_WEIGHT_DECAYS), 1, classes), requires_grad=True)
        # features are many where grids are fine: the same step on each would move the scores in proportion
        self.step = _LEARNING_RATE / float(np.sqrt(max(width / 64, 1.0)))
        self.decay = torch.tensor(_WEIGHT_DECAYS).reshape(-1, 1, 1)

    def losses(self, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy per weight decay, [decays]."""
        scores = features @ self.weight + self.bias
        return -(target * torch.log_softmax(scores, dim=2)).sum(dim=2).mean(dim=1)

    def best(self, target: torch.Tensor) -> Head:
        """The weight decay that does best on the held-out rows, whose soft vote is `target`."""
        total = torch.zeros(len(_WEIGHT_DECAYS))
        with torch.no_grad():
            for part in chunks(len(self._held), self._chunk_rows):
                rows = torch.from_numpy(self.standard.apply(self._features[self._held[part]]))
                total += self.losses(rows, target[part]) * len(rows)
            chosen = int(total.argmin())
            weight = self.weight[chosen].numpy().astype(np.float64) * self.standard.scale[:, None]
            bias = self.bias[chosen, 0].numpy().astype(np.float64) - self.standard.mean @ weight
        return Head(weight.astype(np.float32), bias.astype(np.float32))


def _check_finite(key: Key, numbers: np.ndarray) -> None:
    if not np.isfinite(numbers).all():
        member, depth = key
        raise ConfigError(f"samples: member {member}, cut {depth} gives features that are not finite numbers")


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


def _descend(
    fits: list[_Fit], target: np.ndarray, seed: int, chunk_rows: int, progress: Callable[[int, int], None]
) -> None:
    groups = [{"params": [fit.weight, fit.bias], "lr": fit.step} for fit in fits]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
    epochs = min(_EPOCHS, max(10, 20000 // len(target)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: max(0.02, 1 - epoch / epochs))
    generator = torch.Generator().manual_seed(seed)
    turns = np.random.default_rng(seed)
    parts = list(chunks(len(target), chunk_rows))
    for epoch in range(epochs):
        for number in turns.permutation(len(parts)):
            _descend_chunk(fits, optimiser, int(number), torch.from_numpy(target[parts[number]]), generator)
        schedule.step()
        progress(epoch + 1, epochs)


def _descend_chunk(
    fits: list[_Fit], optimiser: torch.optim.Optimizer, number: int, target: torch.Tensor, generator: torch.Generator
) -> None:
    """One chunk in small batches; losses are summed over ramps and decays, which share no parameter."""
    rows = [torch.from_numpy(fit.kept.chunk(number)) for fit in fits]
    for chosen in torch.randperm(len(target), generator=generator).split(_BATCH):
        optimiser.zero_grad(set_to_none=True)
        goal = target[chosen]
        losses = [fit.losses(row[chosen], goal).sum() for fit, row in zip(fits, rows, strict=True)]
        torch.stack(losses).sum().backward()
        optimiser.step()
        _decay(fits, optimiser)


def _decay(fits: list[_Fit], optimiser: torch.optim.Optimizer) -> None:
    """Weight decay apart from the gradient, as in AdamW, one strength per copy."""
    with torch.no_grad():
        for fit, group in zip(fits, optimiser.param_groups, strict=True):
            fit.weight.mul_(1 - group["lr"] * fit.decay)
