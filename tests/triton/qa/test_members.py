"""C9 and C10: a member, or every member, fails: an error with its name, or by policy the best vote; never a hang.

A member cannot be unloaded from a running server (test_reload.py); a slow one is a matter of deadlines (test_time.py).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from exeunt.contract import Reason
from exeunt.serving.pip_server import serve
from tests.serving.repository import copy_with
from tests.triton.calls import ask, await_idle, vote_offline
from tests.triton.qa.bag import ALL_FAIL, B_FAILS, ROWS, Served
from tests.triton.qa.metrics import read_samples

pytestmark = pytest.mark.triton
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])
INTERNAL = {"http": "500", "grpc": "StatusCode.INTERNAL"}


@BOTH
def test_c9_a_failing_member_is_an_error_that_names_it(served, protocol):
    brittle = served.manifest.members[1].segments[-1].model
    with pytest.raises(InferenceServerException, match=brittle) as caught:
        ask(served.server, protocol, ROWS + B_FAILS, exit="never")
    assert caught.value.status() == INTERNAL[protocol]
    await_idle(served.server)


def test_c9_a_member_that_fails_for_some_fails_nobody_else(served):
    def send(number):
        poisoned = number % 4 == 0
        try:
            outputs = ask(served.server, "grpc", ROWS + B_FAILS if poisoned else ROWS, exit="never")
        except InferenceServerException as error:
            return [] if poisoned else [str(error)]
        return ["a failing row was answered"] if poisoned else served.wrong(outputs)

    with ThreadPoolExecutor(16) as pool:
        assert [wrong for wrong in pool.map(send, range(160)) if wrong] == []
    await_idle(served.server)


def test_c9_rows_that_fail_in_turns_with_good_ones_end_no_server(served):
    failed = 0
    for number in range(120):
        poisoned = number % 2 == 1
        try:
            outputs = ask(served.server, "grpc", ROWS + B_FAILS if poisoned else ROWS)
        except InferenceServerException as error:
            assert poisoned and "tiny_b" in str(error)
            failed += 1
        else:
            assert poisoned or served.wrong(outputs) == []
    assert failed > 0
    await_idle(served.server)


def test_c9_for_triton_no_step_of_the_bag_fails(served):
    """Triton before 26.02 may answer a call twice where one does, and ends."""
    before = _failures(served.server)
    with pytest.raises(InferenceServerException):
        ask(served.server, "grpc", ROWS + B_FAILS, exit="never")
    assert _failures(served.server) == before


def test_c9_a_report_to_nobody_hides_no_error(served):
    tensor = InferInput("IMAGE", list(ROWS.shape), "FP32")
    tensor.set_data_from_numpy(ROWS + B_FAILS)
    with InferenceServerClient(served.server.grpc_url) as client, pytest.raises(InferenceServerException):
        client.infer(served.manifest.members[1].model, [tensor], parameters={"report_failure_to": "tiny_exit:1"})


def _failures(server):
    return {
        key: count
        for key, count in read_samples(server).items()
        if key[0] == "nv_inference_request_failure" and count and dict(key[1])["model"] not in ("tiny", "tiny_exit")
    }


@BOTH
def test_c10_when_all_members_fail_the_error_tells_the_cause(served, protocol):
    with pytest.raises(InferenceServerException, match=r"tiny_[ab]_s\d'? failed: .*indices element out of") as caught:
        ask(served.server, protocol, ROWS + ALL_FAIL, exit="never")
    assert caught.value.status() == INTERNAL[protocol]
    await_idle(served.server)


@pytest.fixture(scope="module")
def best_vote(triton, qa_repository, tmp_path_factory):
    """A server whose policy is the best vote so far."""
    folder = tmp_path_factory.mktemp("best_vote")
    repository = copy_with(qa_repository, folder / "repository", on_failure="best_vote")
    with serve(repository, state_dir=folder / "state") as server:
        yield Served(repository, server)


@BOTH
def test_c9_by_policy_a_failing_members_rows_get_the_best_vote_marked_degraded(best_vote, protocol):
    rows, degraded = ROWS + B_FAILS, 0
    for _ in range(40):  # on a busy machine the member may fail before the others have voted at all
        try:
            outputs = ask(best_vote.server, protocol, rows, exit="never")
        except InferenceServerException as error:
            assert "tiny_b_s4" in str(error)
            continue
        assert (outputs["REASON"] == Reason.DEGRADED).all()
        (exit_,) = set(outputs["EXIT"][:, 0].tolist())
        assert exit_ < best_vote.last
        expected = vote_offline(best_vote.repository, exit_, rows)
        np.testing.assert_allclose(outputs["PROBABILITIES"], expected, rtol=1e-3, atol=1e-5)
        degraded += 1
    assert degraded > 2  # the first failure closes the exits: earlier votes are asked for all the same
    await_idle(best_vote.server)
