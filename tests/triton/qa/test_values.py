"""C8, C29, C30: rows that are not finite; every row out at once, or none; the same row among any mates."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from exeunt.contract import Reason
from exeunt.serving.pip_server import serve
from tests.serving.repository import copy_with
from tests.triton.calls import ask, controlled, vote_offline
from tests.triton.qa.bag import B_GIVES_NAN, ROWS, Served

pytestmark = pytest.mark.triton


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_c8_a_row_that_is_not_finite_never_leaves_early_and_its_mates_do_not_mind(served, protocol, value):
    rows = ROWS.copy()
    rows[2, 0, 3, 3] = value
    outputs = ask(served.server, protocol, rows)
    assert outputs["REASON"][2, 0] == Reason.FULL and outputs["EXIT"][2, 0] == served.last
    mates = np.array([0, 1, 3, 4, 5])
    assert served.wrong({name: array[mates] for name, array in outputs.items()}, mates) == []


def test_c8_a_row_without_any_finite_vote_says_so(served):
    outputs = ask(served.server, "grpc", np.full_like(ROWS, np.nan))
    assert (outputs["LABEL"] == -1).all() and (outputs["REASON"] == Reason.FULL).all()


def test_c8_a_member_that_gives_nan_does_not_vote(served):
    rows = ROWS + B_GIVES_NAN
    outputs = ask(served.server, "grpc", rows, exit="never")
    expected = vote_offline(served.repository, served.last, rows)
    assert np.isfinite(outputs["PROBABILITIES"]).all() and (outputs["REASON"] == Reason.FULL).all()
    np.testing.assert_allclose(outputs["PROBABILITIES"], expected, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def all_leave(triton, qa_repository, tmp_path_factory):
    """A server whose threshold lets every row leave at its first exit."""
    folder = tmp_path_factory.mktemp("all_leave")
    wishes = {"tuner_options": '{"thresholds": [1.0]}', "lossless": "false"}
    repository = copy_with(qa_repository, folder / "repository", **wishes)
    with serve(repository, state_dir=folder / "state") as server:
        yield Served(repository, server)


def test_c29_a_threshold_for_everybody_gives_the_first_exits_vote(all_leave):
    for _ in range(30):  # on a busy machine a later exit's vote may overtake the first's
        outputs = ask(all_leave.server, "grpc", ROWS)
        assert all_leave.wrong(outputs) == []
        if (outputs["EXIT"] == 0).all():
            return
    pytest.fail("no answer of thirty came from the first exit")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_c29_with_all_exits_off_every_answer_is_the_full_vote(served, protocol):
    with controlled(served.server, served.repository, exits_off="all"):
        outputs = ask(served.server, protocol, ROWS)
    assert (outputs["EXIT"] == served.last).all() and (outputs["REASON"] == Reason.FULL).all()
    assert served.wrong(outputs) == []


def test_c30_a_row_has_the_same_answer_in_any_batch_and_order_beside_any_other_request(served):
    rng = np.random.default_rng(3)
    batches = [rng.permutation(len(ROWS))[: rng.integers(1, len(ROWS) + 1)] for _ in range(120)]

    def send(indices):
        return served.wrong(ask(served.server, "grpc", ROWS[indices]), indices)

    with ThreadPoolExecutor(12) as pool:
        assert {complaint for complaints in pool.map(send, batches) for complaint in complaints} == set()


def test_c30_a_rows_label_at_an_exit_is_the_same_alone_and_in_company(served):
    labels = {}
    for indices in [np.arange(6), np.arange(5, -1, -1), *np.arange(6)[:, None]]:
        outputs = ask(served.server, "http", ROWS[indices])
        for row, exit_, label in zip(indices, outputs["EXIT"][:, 0], outputs["LABEL"][:, 0], strict=True):
            assert labels.setdefault((int(row), int(exit_)), int(label)) == label
