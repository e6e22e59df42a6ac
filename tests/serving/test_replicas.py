"""Three real servers that share a real store, under load: one is killed, one stopped, and the store dies as well."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from exeunt.contract import Reason
from exeunt.hosting.state_files import STATE_URL_VARIABLE
from exeunt.serving.pip_server import Server, serve
from exeunt.sharing.ledger import Ledger
from exeunt.sharing.redis_store import RedisStore
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag
from tests.sharing.servers import StoreServer, store_server
from tests.triton.calls import ask, manifest_of

pytestmark = pytest.mark.triton

EPS, CAP = 0.2, 8
PATIENCE_S = 240.0  # a busy machine is slow, not wrong


class Caller:
    """Asks one server for one row after the other until it is gone."""

    def __init__(self, server: Server, rows: np.ndarray, seed: int) -> None:
        self.server = server
        self.answers: list[tuple[int, int, int]] = []  # (row, label, reason)
        self.ended_by: Exception | None = None
        self._rows, self._rng = rows, np.random.default_rng(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with grpc.InferenceServerClient(self.server.grpc_url) as client:
            while not self._stop.is_set():
                number = int(self._rng.integers(len(self._rows)))
                image = grpc.InferInput("IMAGE", [1, *self._rows.shape[1:]], "FP32")
                image.set_data_from_numpy(self._rows[number : number + 1])
                try:
                    result = client.infer("tiny", [image])
                except InferenceServerException as error:
                    self.ended_by = error
                    return
                self.answers.append((number, int(result.as_numpy("LABEL")[0, 0]), int(result.as_numpy("REASON")[0, 0])))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


def store_number(server: Server, name: str) -> float:
    """A number of the metric exeunt_store."""
    with urllib.request.urlopen(server.metrics_url, timeout=30) as page:
        lines = [line for line in page.read().decode().splitlines() if line.startswith("exeunt_store{")]
    (line,) = [line for line in lines if f'name="{name}"' in line]
    return float(line.rsplit(" ", 1)[1])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    options = f"max_loss = {EPS}\nmax_unconfirmed_rows = {CAP}"
    export_bag(tiny_bag(tmp_path, mode="engine", members=2, exit_table=options), tmp_path / "repository")
    return tmp_path / "repository"


def ledger(store: StoreServer, repository: Path) -> Ledger:
    client = RedisStore(store.url, manifest_of(repository).content_hash, limit_s=30.0)
    return client._ledger(client.account_key(""))[3]


def test_all_answers_of_all_lives_keep_the_bound_while_servers_and_store_are_killed(
    triton: None, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.load(tmp_path / "samples.npy")[:64]
    (tmp_path / "store").mkdir()
    with store_server(tmp_path / "store") as store, ExitStack() as stack:
        monkeypatch.setenv(STATE_URL_VARIABLE, store.url)
        callers: list[Caller] = []

        def start(name: str) -> ExitStack:
            own = stack.enter_context(ExitStack())
            server = own.enter_context(serve(repository, state_dir=tmp_path / name))
            callers.append(Caller(server, rows, seed=len(callers)))
            stack.callback(callers[-1].stop)  # before its server, unless that is stopped or killed on the way
            return own

        first, _, _ = start("a"), start("b"), start("c")
        full = np.concatenate(
            [ask(callers[0].server, "grpc", rows[k : k + 16], exit="never")["LABEL"] for k in (0, 16, 32, 48)]
        )
        until(lambda: all(store_number(caller.server, "rows_taught") > 0 for caller in callers))
        store.kill()
        until(lambda: store_number(callers[0].server, "reachable") == 0)
        store.start()
        until(lambda: all(store_number(caller.server, "reachable") == 1 for caller in callers))
        os.killpg(callers[1].server.pid, signal.SIGKILL)
        until(lambda: all(store_number(callers[k].server, "rows_taught") > 300 for k in (0, 2)))
        start("d")
        assert store_number(callers[3].server, "rows_learnt") > 0  # before its first answer
        living = {life for life, record in ledger(store, repository).lives.items() if not record.over}
        first.close()
        assert callers[0].server.drained
        after = ledger(store, repository)
        assert sum(after.lives[life].over for life in living if life in after.lives) >= 1  # it said so at its end
        asked = len(callers[3].answers)
        until(lambda: len(callers[3].answers) > asked + 200)

    answers = np.array([answer for caller in callers for answer in caller.answers])
    promised = answers[:, 2] <= Reason.LOSSLESS
    lost = answers[:, 1] != full[answers[:, 0], 0]
    assert (lost & promised).sum() <= EPS * promised.sum() + CAP * len(callers)
    assert (answers[:, 2] == Reason.EARLY).sum() > 100  # it was put to the test
    assert callers[2].ended_by is None and callers[3].ended_by is None  # who was let live answered everything
    assert "stopping" in str(callers[0].ended_by)
