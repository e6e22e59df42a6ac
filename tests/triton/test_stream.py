"""NAME_stream on the real server, in both modes: rows come as they leave, each once."""

import asyncio
import queue

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from exeunt.contract import PARAMETER_WAITED_US, REST, STREAM
from exeunt.serving.pip_server import serve
from exeunt_client import AsyncClient, Client, RequestError, RequestOptions
from exeunt_client.contract import Reason
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.triton.calls import await_idle, manifest_of, vote_offline

pytestmark = pytest.mark.triton
ROWS = noise_rows(16, 7, 16)
MIXED = np.where(np.arange(16)[:, None, None, None] % 2, np.nan, ROWS).astype(np.float32)  # odd rows never leave early
EVERYBODY = 'tuner = "static"\ntuner_options = { thresholds = [1.0] }\nlossless = false\nshadow_share = 0.0\n'


@pytest.fixture(scope="module", params=["engine", "ensemble"])
def streaming(request, triton, tmp_path_factory):
    """(repository, server) of a bag in stages; all that is finite leaves at the first exit."""
    folder = tmp_path_factory.mktemp("stream")
    gear = 'gear = "stages"\n' if request.param == "ensemble" else ""
    bag = tiny_bag(folder, mode=request.param, schedule="cascade", stream=True, exit_table=EVERYBODY + gear)
    export_bag(bag, folder / "repository")
    with serve(folder / "repository", state_dir=folder / "state") as server:
        yield folder / "repository", server


@pytest.fixture
def client(streaming):
    with Client(f"grpc://{streaming[1].grpc_url}", "tiny") as streaming_client:
        yield streaming_client


def joined(parts):
    """Labels, exits and reasons in the order of rows."""
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    names = ("labels", "exits", "reasons")
    return [np.concatenate([getattr(part.answers, name) for part in parts])[order].tolist() for name in names]


def test_every_row_comes_once(client):
    rows = np.concatenate([part.rows for part in client.stream(MIXED)])
    assert sorted(rows.tolist()) == list(range(16))


def test_rows_that_leave_come_before_those_that_stay(client):
    for _ in range(30):  # on a busy machine what has left may be fetched together with what left later
        first, *later = client.stream(MIXED)
        if later:
            break
    assert first.rows.tolist() == list(range(0, 16, 2))
    assert (first.answers.reasons == Reason.EARLY).all()


def test_the_answers_are_those_of_a_plain_request(client):
    labels, _, reasons = joined(list(client.stream(ROWS)))
    plain = client.infer(ROWS)
    assert (labels, reasons) == (plain.labels.tolist(), plain.reasons.tolist())


def test_options_are_passed_on(client, streaming):
    options = RequestOptions(exit="never", deadline_ms=60_000.5)
    labels, exits, _ = joined(list(client.stream(ROWS, options)))
    last = len(manifest_of(streaming[0]).exits) - 1
    assert exits == [last] * len(ROWS)
    assert labels == vote_offline(streaming[0], last, ROWS).argmax(axis=1).tolist()


@pytest.mark.parametrize(("timeout_us", "parameters"), [(1, None), (60_000_000, {PARAMETER_WAITED_US: 60_000_000})])
def test_a_timeout_is_passed_on_with_the_time_waited_before(streaming, timeout_us, parameters):
    def passed():
        answers = queue.SimpleQueue()
        with grpc.InferenceServerClient(streaming[1].grpc_url) as client:
            client.start_stream(lambda result, error: answers.put((result, error)))
            tensor = grpc.InferInput("IMAGE", list(MIXED.shape), "FP32").set_data_from_numpy(MIXED)
            client.async_stream_infer("tiny_stream", [tensor], timeout=timeout_us, parameters=parameters)
            result, error = answers.get(timeout=60)
        return "timeout passed" in str(error) or (result.as_numpy("REASON") == Reason.DEADLINE).any()

    assert any(
        passed() for _ in range(20)
    )  # now and then the votes are quicker than the thread that looks at deadlines


def test_a_coroutine_gets_the_same(streaming):
    async def all_parts():
        async with AsyncClient(f"grpc://{streaming[1].grpc_url}", "tiny") as client:
            return [part async for part in client.stream(MIXED)]

    assert sorted(np.concatenate([part.rows for part in asyncio.run(all_parts())]).tolist()) == list(range(16))


def test_more_streams_than_run_at_a_time_are_all_answered(streaming):
    async def count_rows(client):
        return sum([len(part.rows) async for part in client.stream(MIXED)])

    async def many():
        async with AsyncClient(f"grpc://{streaming[1].grpc_url}", "tiny") as client:
            return await asyncio.gather(*(count_rows(client) for _ in range(60)))

    assert asyncio.run(many()) == [16] * 60


def test_a_caller_that_leaves_early_keeps_nothing_busy(client, streaming):
    for part in client.stream(MIXED):
        assert len(part.rows)
        break
    await_idle(streaming[1])
    assert sum(len(part.rows) for part in client.stream(MIXED)) == 16


def test_a_bad_request_is_refused_in_the_controllers_words(client):
    with pytest.raises(RequestError, match="service_class: expected one of"):
        list(client.stream(ROWS, RequestOptions(service_class="gold")))


def test_over_http_it_is_refused_with_what_to_do(streaming):
    with Client(f"http://{streaming[1].http_url}", "tiny") as client, pytest.raises(RequestError, match="grpc://"):
        next(client.stream(ROWS))


@pytest.mark.parametrize("name", [5, -1, 2**62])
def test_a_stranger_who_makes_up_a_name_gets_nothing(streaming, name):
    with grpc.InferenceServerClient(streaming[1].grpc_url) as client:
        tensor = grpc.InferInput(STREAM, [1, 1], "INT64")
        tensor.set_data_from_numpy(np.full((1, 1), name, dtype=np.int64))
        with pytest.raises(InferenceServerException, match=f"{REST}: nothing of that name"):
            client.infer("tiny_exit", [tensor])
