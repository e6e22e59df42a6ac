"""Clients, load generator and bench against the real server."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.contract import Reason
from exeunt.errors import ConfigError
from exeunt.measuring.arrivals import poisson, take_turns
from exeunt.measuring.bench import SERIES, bench
from exeunt.measuring.load import Traffic, run_load
from exeunt.measuring.summary import stream_labels, summarise
from exeunt.serving.pip_server import Server
from exeunt_client import AsyncClient, Client, RequestOptions
from exeunt_client.answers import NO_EXIT, Answers
from exeunt_client.errors import RequestError
from tests.export.graphs import noise_rows
from tests.triton.calls import manifest_of

pytestmark = pytest.mark.triton
ROWS = noise_rows(24, 11, 16)
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])
WAIT = RequestOptions(exit="never")


def url_of(server: Server, protocol: str) -> str:
    return f"{protocol}://{server.http_url if protocol == 'http' else server.grpc_url}"


@pytest.fixture(scope="module")
def expected(tiny_server: Server) -> Answers:
    with Client(url_of(tiny_server, "grpc"), "tiny") as client:
        return client.infer(ROWS[:6], WAIT)


@BOTH
def test_blocking_answers_are_typed(tiny_server: Server, expected: Answers, protocol: str) -> None:
    with Client(url_of(tiny_server, protocol), "tiny") as client:
        answers = client.infer(ROWS[:6], WAIT)
    np.testing.assert_allclose(answers.probabilities, expected.probabilities, rtol=1e-4, atol=1e-6)
    assert [answer.reason for answer in answers] == [Reason.FULL] * 6


@BOTH
def test_asyncio_answers_are_the_same(tiny_server: Server, expected: Answers, protocol: str) -> None:
    async def ask() -> Answers:
        async with AsyncClient(url_of(tiny_server, protocol), "tiny") as client:
            return await client.infer(ROWS[:6], WAIT)

    np.testing.assert_allclose(asyncio.run(ask()).probabilities, expected.probabilities, rtol=1e-4, atol=1e-6)


@BOTH
def test_asyncio_asks_a_model_that_names_no_labels(tiny_server: Server, expected: Answers, protocol: str) -> None:
    async def ask() -> Answers:
        async with AsyncClient(url_of(tiny_server, protocol), "tiny_full") as client:
            return await client.infer(ROWS[:6])

    np.testing.assert_array_equal(asyncio.run(ask()).labels, expected.labels)


@BOTH
def test_label_names_come_from_the_server_unless_they_are_given(tiny_server: Server, protocol: str) -> None:
    with Client(url_of(tiny_server, protocol), "tiny") as client:
        answer = client.ask(ROWS[0])
    assert answer.label_name == str(answer.label)
    with Client(url_of(tiny_server, protocol), "tiny", labels=[f"class {n}" for n in range(8)]) as client:
        answer = client.ask(ROWS[0])
    assert answer.label_name == f"class {answer.label}"
    assert client.signature.labels == tuple("01234567")


@BOTH
def test_a_model_without_exits_can_be_asked_too(tiny_server: Server, expected: Answers, protocol: str) -> None:
    with Client(url_of(tiny_server, protocol), "tiny_full") as client:
        answers = client.infer(ROWS[:6])
    assert (answers.exits == NO_EXIT).all()
    np.testing.assert_array_equal(answers.labels, expected.labels)


@BOTH
def test_every_wish_reaches_the_server(tiny_server: Server, protocol: str) -> None:
    with Client(url_of(tiny_server, protocol), "tiny") as client:
        assert client.ask(ROWS[0], RequestOptions(max_risk=1e-9)).reason != Reason.EARLY
        for _ in range(30):  # on a busy machine a later exit's vote may overtake, and answers then
            reason = client.ask(ROWS[0], RequestOptions(deadline_ms=60_000.0)).reason
            assert reason != Reason.DEADLINE
            if reason == Reason.EARLY:
                break
        assert reason == Reason.EARLY
        with pytest.raises(RequestError, match="silver"):
            client.ask(ROWS[0], RequestOptions(service_class="silver"))


@BOTH
def test_an_unknown_model_is_the_callers_mistake(tiny_server: Server, protocol: str) -> None:
    with pytest.raises(RequestError, match="nobody"):
        Client(url_of(tiny_server, protocol), "nobody")


def test_a_client_that_cannot_start_leaves_no_connection_open(tiny_server: Server) -> None:
    port = f"{int(tiny_server.http_url.rsplit(':')[-1]):04X}"

    def connections() -> int:  # that somebody still holds: the kernel gives closed ones the inode 0
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(line[2].endswith(f":{port}") and line[9] != "0" for line in lines)

    before = connections()
    with pytest.raises(RequestError, match="nobody") as refusal:  # which holds on to the client
        Client(url_of(tiny_server, "http"), "nobody")
    assert connections() <= before, refusal


@BOTH
def test_too_many_rows_are_refused_in_the_servers_words(tiny_server: Server, protocol: str) -> None:
    with Client(url_of(tiny_server, protocol), "tiny") as client, pytest.raises(RequestError, match="batch-size"):
        client.infer(ROWS[:17])


@BOTH
def test_threads_that_share_a_client_get_their_own_rows(tiny_server: Server, expected: Answers, protocol: str) -> None:
    with Client(url_of(tiny_server, protocol), "tiny") as client:

        def ask(row: int) -> np.ndarray:
            try:
                return client.ask(ROWS[row], WAIT).probabilities
            finally:
                if protocol == "http":
                    client.close()  # this thread's connection

        with ThreadPoolExecutor(6) as pool:
            probabilities = np.stack(list(pool.map(ask, [0, 1, 2, 3, 4, 5])))
    np.testing.assert_allclose(probabilities, expected.probabilities, rtol=1e-4, atol=1e-6)


def test_open_loop_load_answers_every_request_of_every_model(tiny_server: Server) -> None:
    blocks = take_turns(["tiny", "tiny_full"], poisson(60, len(ROWS), seed=0), block_s=0.2)
    answered: list[str] = []
    traffic = Traffic({"IMAGE": ROWS}, gap_s=0.02, warm_up=2)
    run = run_load(url_of(tiny_server, "grpc"), traffic, blocks, lambda model, n: answered.extend([model] * n))
    full = stream_labels(run.outcomes["tiny_full"])
    summary = summarise(run, "tiny", full=full)
    assert (summary.requests, summary.failed) == (24, 0)
    assert summary.reasons["early"] > 0.5  # on a busy machine the full vote may overtake an exit
    assert summary.loss is not None and 0 <= summary.loss <= 1
    assert sorted(answered) == ["tiny"] * 24 + ["tiny_full"] * 24
    assert all(outcome.done_s >= outcome.sent_s >= outcome.scheduled_s - 1e-3 for outcome in run.outcomes["tiny"])


def test_a_refused_request_is_an_outcome_of_the_load(tiny_server: Server) -> None:
    blocks = take_turns(["tiny"], poisson(50, 3, seed=0), block_s=10)
    traffic = Traffic({"IMAGE": ROWS}, gap_s=0.0, warm_up=0, options={"tiny": RequestOptions(service_class="silver")})
    summary = summarise(run_load(url_of(tiny_server, "grpc"), traffic, blocks), "tiny")
    assert summary.failed == summary.requests == 3
    assert "silver" in summary.first_error


def test_members_in_series_agree_with_the_plain_ensemble(tiny_server: Server, tiny_exported: Path) -> None:
    url, manifest = url_of(tiny_server, "grpc"), manifest_of(tiny_exported)
    lines = bench(url, manifest, {"IMAGE": ROWS}, (1, 8), rounds=3, truth=np.zeros(24, dtype=np.int64))
    table = {(line.batch_rows, line.summary.model): line.summary for line in lines}
    assert {model for _, model in table} == {"tiny_a", "tiny_b", SERIES, "tiny_full", "tiny"}
    assert table[8, SERIES].loss == 0.0
    assert table[8, "tiny"].reasons.get("early", 0.0) > 0.3  # the full vote may overtake an exit
    assert all(column.failed == 0 and column.accuracy is not None for column in table.values())


def test_a_bench_batch_beyond_the_bag_is_refused(tiny_server: Server, tiny_exported: Path) -> None:
    with pytest.raises(ConfigError, match="batch size 17"):
        bench(url_of(tiny_server, "grpc"), manifest_of(tiny_exported), {"IMAGE": ROWS}, (17,), rounds=1)


@BOTH
def test_infer_prints_one_typed_answer_per_row(
    tiny_server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    arguments = ["infer", "tiny", "--url", url_of(tiny_server, protocol), "--input", str(tmp_path / "rows.npy")]
    assert main([*arguments, "--rows", "3", "--full", "--json"]) == 0
    items = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["reason"] for item in items] == ["full"] * 3
    assert main([*arguments, "--rows", "2"]) == 0
    assert "early" in capsys.readouterr().out


def test_bench_prints_and_writes_its_numbers(
    tiny_server: Server, tiny_exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    line = ["bench", str(tiny_exported), "--url", url_of(tiny_server, "grpc"), "--input", str(tmp_path / "rows.npy")]
    assert main([*line, "--batch", "2", "--rounds", "2", "--output", str(tmp_path / "bench.json")]) == 0
    assert "members in series" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "bench.json").read_text())) == 5
