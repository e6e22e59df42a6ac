"""The benchmark of learning ramps: what it does without a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.ramp_learning.decided import course
from benchmarks.ramp_learning.ramps import served_rows, shares
from exeunt.hosting.assembly import read_manifest
from exeunt.learning.files import load_exported
from exeunt.learning.rows import ServedRows
from exeunt.manifest import Manifest
from tests.hosting.learning_server import exported, stream

ROWS = 2400


@pytest.fixture(scope="module", params=["engine", "ensemble"])
def bag(request, tmp_path_factory) -> tuple[Path, Manifest, ServedRows]:
    folder = exported(tmp_path_factory.mktemp("bench") / "bag", mode=request.param)
    manifest = read_manifest(folder, {})
    ramps = sorted(load_exported(folder, manifest))
    return folder, manifest, served_rows(manifest, folder.parent.parent, ramps, stream(ROWS))


def test_until_the_first_change_learning_decides_nothing_and_then_it_saves_latency_within_the_promise(bag) -> None:
    folder, manifest, rows = bag
    heads = load_exported(folder, manifest)
    fixed, learning = (course(manifest, folder, heads, rows, cpu_share=s, rate_per_s=10.0) for s in (0.0, 1.0))
    assert learning.changes and not fixed.changes
    first = min(learning.changes)
    assert not learning.heads_after(first - 1) and learning.heads_after(first)
    np.testing.assert_array_equal(fixed.exit[:first], learning.exit[:first])
    assert learning.latency[-800:].mean() < fixed.latency[-800:].mean()
    assert learning.lost.sum() <= manifest.settings.max_loss * ROWS + 1


def test_shares_of_the_exported_heads_are_those_that_the_exits_have(bag) -> None:
    folder, manifest, rows = bag
    exit_shares = shares(manifest, rows, load_exported(folder, manifest), 0.05)
    assert len(exit_shares.agreement) == len(exit_shares.may_leave) == len(manifest.exits) - 1
    assert all(
        leave <= agrees + 0.05 + 1e-9
        for leave, agrees in zip(exit_shares.may_leave, exit_shares.agreement, strict=True)
    )
