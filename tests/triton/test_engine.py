"""A bag in engine mode on the real server: the same contract and the same traffic as in ensemble mode."""

import pytest

from exeunt.serving.pip_server import serve
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag
from tests.triton import test_traffic as traffic
from tests.triton.test_bag import (  # noqa: F401 - collected here, they run against this file's fixtures
    test_a_plain_infer_gets_every_output_in_the_contracts_dtype_and_shape,
    test_metrics_count_every_answer_by_exit_and_reason,
    test_the_baseline_says_what_the_full_vote_says,
    test_with_all_exits_off_every_answer_is_the_full_vote_at_the_last_exit,
    test_with_thresholds_1_every_answer_is_exit_0s_vote_as_computed_offline,
)

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def tiny_exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    options = 'tuner = "static"\ntuner_options = { thresholds = [1.0] }\nlossless = false\nshadow_share = 0.0'
    export_bag(tiny_bag(folder, mode="engine", members=2, exit_table=options), folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="module")
def tiny_server(triton, tiny_exported, tmp_path_factory):
    with serve(tiny_exported, state_dir=tmp_path_factory.mktemp("tiny_state")) as server:
        yield server


def test_the_repository_holds_no_model_per_segment(tiny_exported):
    assert {item.name for item in tiny_exported.iterdir() if item.is_dir()} == {
        "tiny", "tiny_exit", "tiny_full", "tiny_vote", "tiny_a", "tiny_b",
    }  # fmt: skip


def test_mixed_traffic_is_answered_in_order_refused_by_name_and_never_lost(tiny_server, tiny_exported, monkeypatch):
    monkeypatch.setattr(traffic, "SECONDS", 8.0)
    of_64 = traffic.test_mixed_traffic_of_64_clients_is_answered_in_order_refused_by_name_and_never_lost
    of_64(tiny_server, tiny_exported)
