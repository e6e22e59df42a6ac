"""The bag of the QA cases: two members that answer, give NaN, or fail, as the rows ask them to; and its server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir

from exeunt.manifest import Manifest
from exeunt.serving.pip_server import Server
from exeunt_export.export_bag import export_bag
from tests.export.graphs import Net, noise_rows, residual_net
from tests.export.tiny import CLASSES, SIDE, tiny_bag
from tests.triton.calls import manifest_of, vote_offline

ROWS = noise_rows(6, 7, SIDE)
B_GIVES_NAN, B_FAILS, ALL_FAIL = np.float32(1e5), np.float32(1e10), np.float32(1e15)  # added to every pixel of a row
STATIC = 'tuner = "static"\ntuner_options = { thresholds = [0.9] }\nshadow_share = 0.0\n'
GOLD = "service_classes = { gold = 0.001 }"


def export_qa_bag(folder: Path, mode: str, exit_table: str = STATIC + GOLD) -> Path:
    """Write and export the bag; its repository."""
    path = tiny_bag(folder, mode=mode, members=2, exit_table=exit_table)
    _tripping_net(folder / "a.onnx", 0, fails_above=1e12)
    _tripping_net(folder / "b.onnx", 1, nan_above=1e3, fails_above=1e8)
    export_bag(path, folder / "repository")
    return folder / "repository"


def _tripping_net(path: Path, number: int, *, fails_above: float, nan_above: float = np.inf) -> None:
    """A residual net that looks at its largest activation before its last layers: NaN is added, or a look-up fails."""
    residual_net(
        path, number, classes=CLASSES, side=SIDE, before_last=lambda net, x: _trip(net, x, nan_above, fails_above)
    )


def _trip(net: Net, x: ir.Value, nan_above: float, fails_above: float) -> ir.Value:
    def above(bound: float, times: int) -> ir.Value:
        over = net.node("Cast", net.node("Greater", peak, net.constant(np.float32([bound]))), to=7)
        return net.node("Mul", over, net.constant(np.int64([times])))

    peak = net.node("ReduceMax", x, net.constant(np.int64([1, 2, 3])), keepdims=1)
    place = net.node("Add", above(nan_above, 1), above(fails_above, 1000))
    return net.node("Add", x, net.node("Gather", net.constant(np.float32([0.0, np.nan])), place))


@dataclass
class Served:
    """A running server of the bag.

    Attributes:
        repository: what it serves.
        server: how it is reached.
    """

    repository: Path
    server: Server

    @cached_property
    def manifest(self) -> Manifest:
        """What export wrote."""
        return manifest_of(self.repository)

    @property
    def last(self) -> int:
        """The exit of the full vote."""
        return len(self.manifest.exits) - 1

    @cached_property
    def votes(self) -> list[np.ndarray]:
        """The votes on ROWS at every exit, without a server; float32 [rows, classes]."""
        return [vote_offline(self.repository, exit_, ROWS) for exit_ in range(self.last + 1)]

    def wrong(self, outputs: dict[str, np.ndarray], rows: np.ndarray | None = None) -> list[str]:
        """What is wrong with an answer for ROWS, or for those of these indices; empty where all of it is right."""
        indices = np.arange(len(ROWS)) if rows is None else rows
        complaints = []
        for place, row in enumerate(indices):
            exit_ = int(outputs["EXIT"][place, 0])
            expected = self.votes[exit_][row]
            if not np.allclose(outputs["PROBABILITIES"][place], expected, rtol=1e-3, atol=1e-5):
                complaints.append(f"row {row} left at exit {exit_} with another vote than that exit's")
            elif outputs["LABEL"][place, 0] != outputs["PROBABILITIES"][place].argmax():
                complaints.append(f"row {row}: LABEL is not the most probable class")
        return complaints
