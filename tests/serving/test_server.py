"""The real server of the pip wheel over a small repository: stand-in, vote, failures, and what a stop leaves."""

import asyncio
import http.client
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.grpc.aio as grpc_aio
from numpy.testing import assert_allclose

from exeunt.errors import ServingError
from exeunt.serving.pip_server import serve
from exeunt.serving.processes import members
from tests.serving.repository import FIRST, one_model, tiny_repository, whole_member

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def client(hand_made_server):
    with grpc.InferenceServerClient(hand_made_server.grpc_url) as client:
        yield client


def tensor(name, array, dtype="FP32"):
    return grpc.InferInput(name, list(array.shape), dtype).set_data_from_numpy(array)


def images(rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


def test_a_member_in_segments_answers_as_the_whole(client):
    rows = images(3)
    probabilities = client.infer("member", [tensor("IMAGE", rows)]).as_numpy("PROBABILITIES")
    assert_allclose(probabilities, whole_member(rows), rtol=1e-5)


def test_the_vote_answers_only_what_was_asked_for(client):
    a, b = whole_member(images(2, 1)), whole_member(images(2, 2))
    outputs = [grpc.InferRequestedOutput("LABEL")]
    answer = client.infer("vote", [tensor("a.2", a), tensor("b.2", b)], outputs=outputs)
    assert answer.as_numpy("PROBABILITIES") is None
    assert answer.as_numpy("LABEL").ravel().tolist() == (3 * a + b).argmax(axis=1).tolist()


async def look_up_together(url, indices):
    async with grpc_aio.InferenceServerClient(url) as client:
        requests = [[tensor("INDEX", np.array([[index]], dtype=np.int64), "INT64")] for index in indices]
        return await asyncio.gather(*(client.infer("look", item) for item in requests), return_exceptions=True)


def test_a_bad_request_in_a_batch_leaves_its_mates_alone(hand_made_server):
    good, bad, other = asyncio.run(look_up_together(hand_made_server.grpc_url, (0, 99, 2)))
    assert_allclose(good.as_numpy("ROW")[0, 0], FIRST[0])
    assert_allclose(other.as_numpy("ROW")[0, 0], FIRST[2])
    assert "'look' failed" in str(bad)


def test_the_stand_in_batches_waiting_requests(client, hand_made_server):
    for _ in range(20):  # on a busy machine three requests do not always meet in the batcher
        before = client.get_inference_statistics("look").model_stats[0]
        asyncio.run(look_up_together(hand_made_server.grpc_url, (0, 1, 2)))
        after = client.get_inference_statistics("look").model_stats[0]
        if after.execution_count - before.execution_count == 1:
            return
    pytest.fail("three requests at once never ran as one batch")


@pytest.mark.parametrize(
    ("model", "file", "was", "becomes", "cause"),
    [
        ("s1", "config.pbtxt", "dims: [ 5 ]", "dims: [ 6 ]", "output 'cut' has dims [-1, 6]"),
        ("s1", "config.pbtxt", '"IMAGE" data_type', '"IMAGES" data_type', "input 'IMAGES' is not in the ONNX file"),
        ("s1", "config.pbtxt", "dims: [ 4 ] }", "dims: [ 4 ] optional: true }", "input 'IMAGE' has `optional: true`"),
        ("vote", "config.pbtxt", "3, 1", "3", "parameter weights = '3'"),
    ],
)
def test_a_start_that_fails_tells_the_cause_first(triton, tmp_path, model, file, was, becomes, cause):
    repository = tiny_repository(tmp_path / "repository")
    for other in ("member", "look", "s2", *({"s1", "vote"} - {model})):
        shutil.rmtree(repository / other)
    path = repository / model / file
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, becomes))
    with pytest.raises(ServingError) as caught, serve(repository):
        pass
    first, second = str(caught.value).splitlines()[:2]
    assert first == "tritonserver did not start, exit code 1:"
    assert f"model {model!r}" in second and cause in second
    log_file = Path(str(caught.value).rsplit("whole log: ", 1)[1])
    assert log_file.stat().st_size > 0
    log_file.unlink()


def test_a_read_only_repository_is_served_and_nothing_is_left(triton, tmp_path):
    repository = one_model(tmp_path / "repository")
    before = {path: path.stat().st_mtime_ns for path in sorted(repository.rglob("*"))}
    for path in repository.rglob("*"):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    with serve(repository, state_dir=tmp_path / "state") as server:
        assert server.models == ["s1"]
        assert len(members(server.pid)) >= 2  # the server and a stub
    assert {path: path.stat().st_mtime_ns for path in sorted(repository.rglob("*"))} == before
    assert members(server.pid) == []
    assert not list(Path("/dev/shm").glob(f"*{server.name}*"))
    assert not server.log.exists()
    assert server.drained


def test_a_start_that_takes_too_long_is_ended(triton, hand_made, tmp_path):
    with pytest.raises(ServingError, match="not ready after 0 s"), serve(hand_made, deadline_s=0, log=tmp_path / "log"):
        pass


def test_a_server_that_is_killed_is_told_with_its_signal(triton, tmp_path):
    repository = one_model(tmp_path / "repository")
    with pytest.raises(ServingError, match="ended by itself, killed by SIGKILL"), serve(repository) as server:
        server.kill()
        server.watch([], lambda line: None)
    assert members(server.pid) == []


def test_metrics_are_served_on_their_own_port(hand_made_server):
    host = hand_made_server.metrics_url.removeprefix("http://").removesuffix("/metrics")
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("GET", "/metrics")
    assert b"nv_inference_count" in connection.getresponse().read()
    connection.close()
