"""Sessions whose weights lie in a mapped file: open at once, packed beside the first answers."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from exeunt.contract import PROBABILITIES
from exeunt.engine.engine import Engine
from exeunt.engine.packing import Packer
from exeunt.engine.sessions import CPU, WEIGHTS_SUFFIX, Session
from exeunt.errors import ServingError
from tests.engine.nets import WIDTH, written

ROWS = np.random.default_rng(3).standard_normal((9, WIDTH)).astype(np.float32)


def mapped(path: Path) -> Path:
    """Move a model's weights into a file beside it, as the export does with large ones."""
    ir.save(ir.load(path), path, external_data=f"{path.name}{WEIGHTS_SUFFIX}", size_threshold_bytes=0)
    return path


@pytest.fixture
def last_segment(tmp_path: Path) -> Path:
    """A model of two layers that ends in PROBABILITIES."""
    written(tmp_path, ((1,),))
    return next(path for path in tmp_path.glob("*.onnx") if "_s1" in path.name)


def votes(session: Session) -> np.ndarray:
    return session.run([PROBABILITIES], {session.inputs[0]: ROWS})[0]


def test_mapped_weights_give_the_same_votes_before_and_after_they_are_packed(last_segment: Path) -> None:
    whole = votes(Session(last_segment, 1, [CPU]))
    session = Session(mapped(last_segment), 1, [CPU])
    assert session.packs_later
    np.testing.assert_allclose(votes(session), whole, rtol=1e-6)
    session.pack()
    assert not session.packs_later
    np.testing.assert_allclose(votes(session), whole, rtol=1e-6)


def test_weights_inside_the_file_are_packed_at_once(last_segment: Path) -> None:
    session = Session(last_segment, 1, [CPU])
    before = session._session
    session.pack()
    assert not session.packs_later and session._session is before


def test_runs_go_on_while_weights_are_packed(last_segment: Path) -> None:
    session = Session(mapped(last_segment), 1, [CPU])
    whole, stop, differences = votes(session), threading.Event(), []

    def run() -> None:
        while not stop.is_set():
            differences.append(float(np.abs(votes(session) - whole).max()))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    packer = Packer([session])
    packer.start()
    packer.join()
    stop.set()
    for thread in threads:
        thread.join()
    assert not session.packs_later and max(differences) < 1e-6


def test_a_file_that_is_gone_leaves_the_mapped_weights_at_work(
    last_segment: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session(mapped(last_segment), 1, [CPU])
    whole = votes(session)
    last_segment.unlink()
    with pytest.raises(ServingError, match="cannot load"):
        session.pack()
    packer = Packer([session])
    packer.start()
    packer.join()
    assert "weights stay as they are mapped" in caplog.text
    np.testing.assert_array_equal(votes(session), whole)


def test_an_engine_packs_what_it_serves_from_and_ends_with_it(tmp_path: Path) -> None:
    bag = written(tmp_path, ((1, 0), (1, 1)))
    for path in list(tmp_path.glob("*.onnx")):
        mapped(path)
    engine = Engine(bag, tmp_path)
    assert all(session.packs_later for session in engine._packer._sessions)
    engine._packer.start()
    engine._packer.join()
    assert not any(session.packs_later for session in engine._packer._sessions)
    engine.close()
