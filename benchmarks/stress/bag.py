"""The bag under load: two members of a few milliseconds, whose votes at every exit are known without a server."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from exeunt.manifest import Manifest
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows, residual_net
from tests.triton.calls import manifest_of, vote_offline

NAME, GOLD = "tiny", "gold"
CLASSES, SIDE, MOST_ROWS, POOL = 8, 32, 16, 64
SIZES = (3, 4)  # numbers of residual_net: the higher, the slower


def export_stress_bag(folder: Path, mode: str) -> Path:
    """Write and export the bag, with a second class of service; its repository."""
    np.save(folder / "samples.npy", noise_rows(400, 0, SIDE))
    lines = [f'name = "{NAME}"', f'mode = "{mode}"', 'samples = "samples.npy"', "seed = 0"]
    for name, size in zip("ab", SIZES, strict=True):
        residual_net(folder / f"{name}.onnx", size, 0, CLASSES, SIDE)
        lines += ["[[member]]", f'name = "{name}"', f'file = "{name}.onnx"']
    lines += ["[cuts]", "ramp_budget = 10", "[serving]", f"max_batch_size = {MOST_ROWS}"]
    lines += ["[exit]", f"service_classes = {{ {GOLD} = 0.001 }}"]
    (folder / "bag.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    export_bag(folder / "bag.toml", folder / "repository")
    return folder / "repository"


class Votes:
    """What right answers are.

    Args:
        repository: with the bag.

    Attributes:
        rows: float32 [POOL, 1, SIDE, SIDE], of which requests are made.
    """

    def __init__(self, repository: Path) -> None:
        self.rows = noise_rows(POOL, 7, SIDE)
        self._repository = repository

    @cached_property
    def manifest(self) -> Manifest:
        """What export wrote."""
        return manifest_of(self._repository, NAME)

    @cached_property
    def _votes(self) -> np.ndarray:
        exits = range(len(self.manifest.exits))
        return np.stack([vote_offline(self._repository, exit_, self.rows, NAME) for exit_ in exits])

    def wrong_rows(self, pool_rows: np.ndarray, probabilities: np.ndarray, label: np.ndarray, exit_: np.ndarray) -> int:
        """How many rows of an answer are not the vote at the exit that they name.

        Args:
            pool_rows: int [rows], which of `rows` were sent.
            probabilities: [rows, classes], of the answer.
            label: [rows].
            exit_: [rows].
        """
        if len(probabilities) != len(pool_rows):
            return len(pool_rows)
        right = np.isclose(probabilities, self._votes[exit_, pool_rows], rtol=1e-3, atol=1e-5).all(axis=1)
        return int((~right | (label != probabilities.argmax(axis=1))).sum())
