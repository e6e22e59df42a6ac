"""Three real servers that share a real store, under load: servers are killed and stopped, and the store dies too."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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

pytestmark = [pytest.mark.triton, pytest.mark.slow]

EPS, CAP = 0.2, 8
PATIENCE_S = 240.0  # a busy machine is slow, not wrong


class Replica:
    """A server with a caller that asks it for one row after the other until it is gone."""

    def __init__(self, repository: Path, folder: Path, rows: np.ndarray, seed: int) -> None:
        self.folder = folder
        self.answers: list[tuple[int, int, int]] = []  # (row, label, reason)
        self.ended_by: Exception | None = None
        self._server_stack = ExitStack()
        self.server: Server = self._server_stack.enter_context(serve(repository, state_dir=folder))
        self._rows, self._rng = rows, np.random.default_rng(seed)
        self._asks = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with grpc.InferenceServerClient(self.server.grpc_url) as client:
            while self._asks:
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
        """In order, under load."""
        self._server_stack.close()
        self.silence()

    def kill(self) -> None:
        """With everything that belongs to it."""
        os.killpg(self.server.pid, signal.SIGKILL)
        self.stop()

    def silence(self) -> None:
        """Ask no more."""
        self._asks = False
        self._thread.join()

    def number(self, name: str) -> float:
        """A number of the metric exeunt_store; NaN until it is told first."""
        with urllib.request.urlopen(self.server.metrics_url, timeout=30) as page:
            lines = [line for line in page.read().decode().splitlines() if line.startswith("exeunt_store{")]
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if f'name="{name}"' in line]
        return values[0] if values else float("nan")


class Farm:
    """Replicas of one bag, their store, and all their answers."""

    def __init__(self, folder: Path, store: StoreServer) -> None:
        options = f"max_loss = {EPS}\nmax_unconfirmed_rows = {CAP}"
        export_bag(tiny_bag(folder, mode="engine", members=2, exit_table=options), folder / "repository")
        self.store = store
        self.rows = np.load(folder / "samples.npy")[:64]
        self.all: list[Replica] = []
        self._folder = folder
        self._full = np.zeros(0)

    def start(self, folder: Path | None = None) -> Replica:
        """One more replica, on a folder of its own or that of one that is gone."""
        state_dir = folder or self._folder / f"state{len(self.all)}"
        self.all.append(Replica(self._folder / "repository", state_dir, self.rows, seed=len(self.all)))
        if not len(self._full):
            parts = np.split(self.rows, 4)
            self._full = np.concatenate(
                [ask(self.all[0].server, "grpc", part, exit="never")["LABEL"] for part in parts]
            )
        return self.all[-1]

    def ledger(self) -> Ledger:
        client = RedisStore(self.store.url, manifest_of(self._folder / "repository").content_hash, limit_s=30.0)
        return client._ledger(client.account_key(""))[3]

    def answered(self) -> int:
        return sum(len(replica.answers) for replica in self.all)

    def check(self) -> None:
        """All answers of all lives keep the bound, and were put to the test."""
        answers = np.array([answer for replica in self.all for answer in replica.answers])
        promised = answers[:, 2] <= Reason.LOSSLESS
        lost = answers[:, 1] != self._full[answers[:, 0], 0]
        assert (lost & promised).sum() <= EPS * promised.sum() + CAP * len(self.all)
        assert (answers[:, 2] == Reason.EARLY).sum() > 100


@contextmanager
def farm_of_three(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    (folder / "store").mkdir()
    with store_server(folder / "store") as store:
        monkeypatch.setenv(STATE_URL_VARIABLE, store.url)
        farm = Farm(folder, store)
        try:
            for _ in range(3):
                farm.start()
            yield farm
            for replica in farm.all:
                replica.silence()
        finally:
            for replica in farm.all:
                replica.stop()


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


def test_all_answers_of_all_lives_keep_the_bound_while_servers_and_store_are_killed(
    triton: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with farm_of_three(tmp_path, monkeypatch) as farm:
        first, second, third = farm.all
        until(lambda: all(replica.number("rows_taught") > 0 for replica in farm.all))
        farm.store.kill()
        until(lambda: first.number("reachable") == 0)
        farm.store.start()
        until(lambda: all(replica.number("reachable") == 1 for replica in farm.all))
        second.kill()
        until(lambda: first.number("rows_taught") > 300 and third.number("rows_taught") > 300)
        fourth = farm.start()
        until(lambda: fourth.number("rows_learnt") > 0)
        living = {life for life, record in farm.ledger().lives.items() if not record.over}
        first.stop()
        lives = farm.ledger().lives
        assert first.server.drained and "stopping" in str(first.ended_by)
        assert any(lives[life].over for life in living & set(lives))  # it said so at its end
        answers_before = len(fourth.answers)
        until(lambda: len(fourth.answers) > answers_before + 200)
        assert third.ended_by is None and fourth.ended_by is None  # who was let live answered everything
    farm.check()


@pytest.mark.parametrize("seed", [0])
def test_chance_may_kill_stop_and_start_servers_and_store_in_any_order(
    triton: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    with farm_of_three(tmp_path, monkeypatch) as farm:
        running = list(farm.all)
        for event in rng.permutation(["kill", "kill", "stop", "stop", "copy", "restart", "restart", "pause"]):
            answers_before = farm.answered()
            until(lambda answers_before=answers_before: farm.answered() > answers_before + 150)
            if event in ("kill", "stop"):
                victim = running.pop(int(rng.integers(len(running))))
                victim.kill() if event == "kill" else victim.stop()
                running.append(farm.start(victim.folder if rng.random() < 0.5 else None))
            elif event == "copy":
                RedisStore(farm.store.url, "any", limit_s=30.0)._client.save()
            elif event == "restart":  # from the copy, if there is one
                farm.store.kill()
                farm.store.start()
            else:
                farm.store.pause()
                time.sleep(2.0)
                farm.store.go_on()
        until(lambda: all(replica.number("reachable") == 1 for replica in running))
        assert all(replica.ended_by is None for replica in running)
    farm.check()
