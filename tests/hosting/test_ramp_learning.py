"""Ramps that learn in a running server."""

from __future__ import annotations

import dataclasses
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exeunt.contract import votes_name
from exeunt.deciding.heads import Head, Heads
from exeunt.engine.sessions import sessions_of
from exeunt.errors import ConfigError
from exeunt.hosting import assembly
from exeunt.hosting.control import Control
from exeunt.hosting.ramp_learning import APPLY_SUFFIX, HEADS_SUFFIX, ROWS_SUFFIX
from exeunt.learning.files import HEADS_FILE, HeadsFile, load_exported, load_heads, save_exported, save_heads
from exeunt.manifest import Manifest
from exeunt.records.record import read_record
from exeunt.replay.replay import replay
from exeunt.replay.stream import recorded_stream
from exeunt.settings import Settings
from tests.hosting.learning_server import Server, exported, stream


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    return exported(tmp_path_factory.mktemp("learning") / "bag")


@pytest.fixture(scope="module")
def learnt(bag, tmp_path_factory) -> Path:
    """The state folder of a server that has learnt and stopped in order."""
    state_dir = tmp_path_factory.mktemp("state")
    with Server(bag, state_dir, shadow_share=1.0) as server:
        for number in range(40):
            server.ask(stream(128, number), batch=8)
            time.sleep(0.4)  # jobs run beside serving
            if server.metric("version"):
                break
        assert server.metric("version"), server.lines
        assert server.metric("cpu_seconds_total") > 0
        assert not server.guard.faults
    return state_dir


@pytest.fixture
def state_dir(learnt, tmp_path) -> Path:
    return Path(shutil.copytree(learnt, tmp_path / "state"))


def until(true: Callable[[], object], what: object) -> None:
    end_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


def heads_path(bag: Path, state_dir: Path, suffix: str = HEADS_SUFFIX) -> Path:
    return state_dir / f"{assembly.read_manifest(bag, {}).content_hash}{suffix}"


def stored_heads(bag: Path, state_dir: Path) -> HeadsFile:
    heads_file = load_heads(heads_path(bag, state_dir), assembly.read_manifest(bag, {}))
    assert heads_file is not None
    return heads_file


def agreement(server: Server, rows: int = 160) -> float:
    """Share of new rows on which the first exit has the full vote's label."""
    server.ask(stream(rows, 999))
    labels = server.controller.tuner.state()["window.labels"][-rows:]
    return float((labels[:, 0] == labels[:, -1]).mean())


def in_use(server: Server) -> Heads:
    return server.controller.decisions.in_use.heads


def test_learnt_heads_serve_again_after_a_restart_and_agree_more_with_the_full_vote(bag, state_dir) -> None:
    with Server(bag, None, shadow_share=1.0) as fresh:
        before = agreement(fresh)
    with Server(bag, state_dir, shadow_share=1.0) as server:
        assert in_use(server).version == stored_heads(bag, state_dir).heads.version
        assert agreement(server) > before + 0.1


def test_what_the_tuner_knows_of_learnt_heads_is_kept_over_an_orderly_stop(bag, state_dir) -> None:
    with Server(bag, state_dir) as server:
        window = server.controller.tuner.state()["window.labels"]
        assert server.controller.tuner.heads_version == in_use(server).version > 0
        assert (window[:, 0] >= 0).any()


def test_where_state_and_heads_do_not_fit_nothing_is_believed_of_exits_with_ramps(bag, state_dir) -> None:
    before = stored_heads(bag, state_dir)
    save_heads(
        heads_path(bag, state_dir),
        dataclasses.replace(before, heads=Heads(before.heads.version + 3, before.heads.table)),
        assembly.read_manifest(bag, {}),
    )
    with Server(bag, state_dir) as server:
        assert in_use(server).version == before.heads.version + 4
        assert (server.controller.tuner.state()["window.labels"][:, 0] == -1).all()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a file of heads"])
def test_damaged_heads_are_left_and_the_exported_ones_serve(bag, state_dir, damage) -> None:
    heads_path(bag, state_dir).write_bytes(damage)
    with Server(bag, state_dir) as server:
        assert not in_use(server).table
        assert any("not restored" in line for line in server.lines)
        assert (server.controller.tuner.state()["window.labels"][:, 0] == -1).all()
        server.ask(stream(8))


def test_when_ramps_do_not_learn_any_more_the_exported_heads_serve_and_what_was_known_is_void(bag, state_dir) -> None:
    with Server(bag, state_dir, learn_ramps=False) as server:
        assert server.learning is None and not in_use(server).table
        assert (server.controller.tuner.state()["window.labels"][:, 0] == -1).all()


def test_files_of_heads_are_private_and_hold_no_features(bag, state_dir) -> None:
    path = heads_path(bag, state_dir)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with np.load(path) as stored:
        assert {name.split(".")[0] for name in stored.files} <= {"_", "heads", "previous"}
        assert {name.rsplit(".")[-1] for name in stored.files} <= {"_", "weight", "bias"}
    assert not heads_path(bag, state_dir, ROWS_SUFFIX).exists()


def test_rows_are_kept_on_disk_only_where_an_operator_asks_for_it(bag, tmp_path) -> None:
    with Server(bag, tmp_path, shadow_share=1.0, learn_keep_rows=True) as server:
        server.ask(stream(64), batch=8)
        until(lambda: server.metric("rows") >= 64, server.lines)
    path = heads_path(bag, tmp_path, ROWS_SUFFIX)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Server(bag, tmp_path, learn_keep_rows=True) as again:
        assert again.metric("rows") == 64
    time.sleep(1.1)
    with Server(bag, tmp_path, learn_keep_rows=True, learn_max_age_s=1.0) as aged:
        until(lambda: aged.metric("rows") == 0, aged.lines)


def test_an_operator_gets_the_heads_before_or_the_exported_ones_and_each_command_is_done_once(bag, state_dir) -> None:
    version = stored_heads(bag, state_dir).heads.version
    with Server(bag, state_dir) as server:
        assert server.learning is not None
        table = in_use(server).table
        for number, command, expected in ((1, "exported", {}), (2, "previous", table), (2, "exported", table)):
            server.learning.obey(Control(ramps=command, ramps_number=number))
            assert in_use(server).table == expected
        assert in_use(server).version == version + 2
    with Server(bag, state_dir) as again:
        assert again.learning is not None
        again.learning.obey(Control(ramps="exported", ramps_number=2))
        assert in_use(again).version == version + 2


def test_heads_of_one_server_serve_another(bag, learnt, tmp_path) -> None:
    path = heads_path(bag, tmp_path, APPLY_SUFFIX)
    shutil.copy(heads_path(bag, learnt), path)
    with Server(bag, tmp_path, shadow_share=1.0) as server:
        assert server.learning is not None
        before = agreement(server)
        server.learning.obey(Control(ramps="apply", ramps_number=1))
        assert in_use(server).version == 1
        assert agreement(server) > before + 0.1


def test_heads_that_do_not_fit_are_refused_and_the_others_stay(bag, state_dir) -> None:
    manifest = assembly.read_manifest(bag, {})
    path = heads_path(bag, state_dir, APPLY_SUFFIX)
    wide = Head(np.zeros((3, manifest.classes), np.float32), np.zeros(manifest.classes, np.float32))
    (pair,) = list(load_exported(bag, manifest))[:1]
    shape = load_exported(bag, manifest)[pair].weight.shape
    nan = Head(np.full(shape, np.nan, np.float32), np.zeros(manifest.classes, np.float32))
    with Server(bag, state_dir) as server:
        assert server.learning is not None
        version = in_use(server).version
        for number, bad in enumerate(({pair: wide}, {pair: nan}, {(0, 99): wide}), start=1):
            save_heads(path, HeadsFile(Heads(1, bad)), manifest)
            with pytest.raises(ConfigError, match="head"):
                server.learning.obey(Control(ramps="apply", ramps_number=number))
        other = dataclasses.replace(manifest, bag="other")
        save_heads(path, HeadsFile(Heads(1, {})), other)
        with pytest.raises(ConfigError, match="the very same export"):
            server.learning.obey(Control(ramps="apply", ramps_number=9))
        assert in_use(server).version == version


def test_a_frozen_server_takes_no_rows(bag, tmp_path) -> None:
    with Server(bag, tmp_path, shadow_share=1.0) as server:
        assert server.learning is not None
        server.learning.obey(Control(ramps_frozen=True))
        server.ask(stream(32))
        until(lambda: server.metric("left_out_rows_total") == 32, server.lines)
        assert server.metric("rows") == 0
        server.learning.obey(Control())
        server.ask(stream(32))
        until(lambda: server.metric("rows") == 32, server.lines)


def test_a_ticket_is_answered_by_the_heads_it_was_admitted_with(bag) -> None:
    manifest = Manifest.load(bag / "manifest.json")
    table = {pair: Head(-head.weight, -head.bias) for pair, head in load_exported(bag, manifest).items()}
    votes = []
    for heads in (Heads(), Heads(1, table)):
        with Server(bag, None, shadow_share=1.0) as server:
            server.controller.decisions.in_use.start(heads)
            last_decided = {}
            server.controller.decisions.on_over.append(
                lambda decided, events, last_decided=last_decided: last_decided.update(rows=decided)
            )
            server.ask(stream(8), batch=8)
            votes.append(last_decided["rows"])
    assert votes[0].heads_version.tolist() == [0] * 8 and votes[1].heads_version.tolist() == [1] * 8
    assert (votes[0].rows.labels[:, 0] != votes[1].rows.labels[:, 0]).any()
    np.testing.assert_array_equal(votes[0].rows.labels[:, -1], votes[1].rows.labels[:, -1])


def test_fed_heads_say_what_numpy_says_of_them(bag) -> None:
    manifest = Manifest.load(bag / "manifest.json")
    heads = manifest.exits[0].heads
    assert heads is not None
    session = sessions_of(manifest, bag, 1, ["CPUExecutionProvider"])[heads]
    rng = np.random.default_rng(0)
    feed, expected, names = {}, [], []
    for pair, head in load_exported(bag, manifest).items():
        name = votes_name(manifest.members[pair[0]].name, pair[1])
        if name not in session.outputs:
            continue
        other = Head(rng.normal(size=head.weight.shape).astype(np.float32), head.bias)
        features = rng.normal(size=(3, len(head.weight))).astype(np.float32)
        feed |= {f"{name}.features": features, f"{name}.weight": other.weight, f"{name}.bias": other.bias}
        expected.append(other.probabilities(features))
        names.append(name)
    for output, probabilities in zip(session.run(names, feed), expected, strict=True):
        np.testing.assert_allclose(output, probabilities, rtol=1e-3, atol=1e-6)


def test_a_bag_that_was_not_exported_to_learn_says_what_to_do(bag, tmp_path) -> None:
    folder = Path(shutil.copytree(bag, tmp_path / "tiny_exit" / "1"))
    (folder / HEADS_FILE).unlink()
    with pytest.raises(ConfigError, match="export the bag with it in its bag file"):
        Server(folder, None)


def test_a_record_of_ramps_that_learn_is_decided_again(bag, tmp_path) -> None:
    with Server(bag, None, shadow_share=1.0, records_dir=str(tmp_path)) as server:
        for number in range(40):
            server.ask(stream(64, number), batch=(4, 16, 1)[number % 3])
            time.sleep(0.1)  # jobs run beside serving
            if server.metric("version"):
                break
        for number in range(6):
            server.ask(stream(64, 1000 + number), batch=8)
    recorded = recorded_stream(read_record(tmp_path), "recorded")
    assert set(recorded.decided.heads_version.tolist()) >= {0, 1}
    tuner = assembly.make_controller(server.manifest, bag).tuner
    run = replay(recorded, tuner, server.manifest.costs(), server.manifest.settings)
    np.testing.assert_array_equal(run.exit, recorded.rows.exit)
    np.testing.assert_array_equal(run.reason, recorded.rows.reason)
    np.testing.assert_array_equal(run.version, recorded.rows.tuner_version)


def test_a_bag_without_ramps_serves_and_says_that_there_is_nothing_to_learn(bag, tmp_path) -> None:
    folder = Path(shutil.copytree(bag, tmp_path / "tiny_exit" / "1"))
    save_exported(folder / HEADS_FILE, {})
    with Server(folder, tmp_path / "state") as server:
        server.ask(stream(4))
        assert server.learning is None and any("nothing to learn" in line for line in server.lines)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [({"tuner": "static"}, "tuner = 'budget'"), ({"state_url": "redis://store"}, "one of them")],
)
def test_learning_is_refused_where_it_cannot_be(settings, allowed) -> None:
    with pytest.raises(ConfigError, match=rf"learn_ramps = true .*{allowed}"):
        Settings.from_mapping({"learn_ramps": True, **settings}, "bag.toml")
