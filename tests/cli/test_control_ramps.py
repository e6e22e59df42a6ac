"""`exeunt control` and ramps that learn, against a server in this process."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.deciding.heads import Head, Heads
from exeunt.hosting import assembly
from exeunt.hosting.ramp_learning import HEADS_SUFFIX
from exeunt.learning.files import HeadsFile, load_exported, load_heads, save_heads
from tests.hosting.learning_server import Server, exported


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    return exported(tmp_path_factory.mktemp("control") / "bag")


@pytest.fixture
def learnt(bag, tmp_path) -> Path:
    """A state folder with heads of version 3."""
    manifest = assembly.read_manifest(bag, {})
    table = {pair: Head(2 * head.weight, head.bias) for pair, head in load_exported(bag, manifest).items()}
    path = tmp_path / "state" / f"{manifest.content_hash}{HEADS_SUFFIX}"
    save_heads(path, HeadsFile(Heads(3, table), Heads(2, {})), manifest)
    return path.parent


def control(state_dir: Path, *options: str) -> int:
    return main(["control", "tiny", "--state-dir", str(state_dir), "--json", *options])


def heads(server: Server) -> Heads:
    return server.controller.decisions.in_use.heads


def test_ramps_are_frozen_and_learn_again(bag, learnt) -> None:
    with Server(bag, learnt) as server:
        assert control(learnt, "--ramps", "freeze") == 0
        assert server.metric("frozen") == 1
        assert control(learnt, "--max-loss", "0.02") == 0
        assert server.metric("frozen") == 1
        assert control(learnt, "--ramps", "learn") == 0
        assert server.metric("frozen") == 0


def test_heads_are_taken_back_once_for_each_command(bag, learnt) -> None:
    with Server(bag, learnt) as server:
        started = heads(server)
        assert control(learnt, "--ramps", "exported") == 0
        assert not heads(server).table
        assert control(learnt, "--ramps", "previous") == 0
        assert heads(server).table == started.table
        assert control(learnt, "--reset") == 0
        assert control(learnt, "--feedback", "auto") == 0
        assert heads(server).version == started.version + 2


def test_heads_go_from_one_server_to_another_and_nothing_else_does(bag, learnt, tmp_path, capsys) -> None:
    file, other = tmp_path / "ramps.npz", tmp_path / "other"
    with Server(bag, learnt) as server:
        assert control(learnt, "--export-ramps", str(file)) == 0
        table = heads(server).table
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with np.load(file) as stored:
        assert all(name == "_" or name.startswith("heads.") for name in stored.files)
    with Server(bag, other) as server:
        assert control(other, "--export-ramps", str(tmp_path / "none.npz")) != 0
        assert "no head has changed yet" in capsys.readouterr().err
        assert control(other, "--apply-ramps", str(file)) == 0
        assert heads(server).version == 1
        for pair, head in table.items():
            np.testing.assert_array_equal(heads(server).table[pair].weight, head.weight)
    loaded_heads = load_heads(next(other.glob(f"*{HEADS_SUFFIX}")), assembly.read_manifest(bag, {}))
    assert loaded_heads is not None and loaded_heads.heads.version == 1


def test_what_cannot_be_done_is_said_with_what_can(bag, tmp_path, capsys) -> None:
    state_dir, broken = tmp_path / "state", tmp_path / "broken.npz"
    broken.write_bytes(b"heads")
    with Server(bag, state_dir):
        for options, message in (
            (("--ramps", "previous"), "no heads before those in use"),
            (("--apply-ramps", str(broken)), "not a good file of heads"),
            (("--apply-ramps", str(tmp_path / "missing.npz")), "no such file"),
            (("--apply-ramps", str(broken), "--ramps", "exported"), "allowed: one of them"),
        ):
            assert control(state_dir, *options) != 0
            assert message in capsys.readouterr().err
        assert control(state_dir, "--max-loss", "0.02") == 0
    with Server(bag, tmp_path / "unlearning", learn_ramps=False):
        assert control(tmp_path / "unlearning", "--ramps", "freeze") != 0
        assert "do not learn in service" in capsys.readouterr().err
