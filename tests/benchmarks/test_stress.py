"""The benchmarks under load without a server: what is sent, what is counted, what is left to do."""

import os
from dataclasses import asdict

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from benchmarks import soak, storm
from benchmarks.kills import ACTIONS, MODES, VICTIMS, Trial, left_to_do
from benchmarks.stress.bag import CLASSES, GOLD, POOL, SIDE, Votes
from benchmarks.stress.calls import Call, answer_of, message
from benchmarks.stress.memory import MemoryWatch
from benchmarks.stress.mixed import CANCELLED_SHARE, Stretch, Tally, mixed_calls, p99s_ms


class Known(Votes):
    """Votes at two exits that were not computed."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.rows = rng.random((POOL, 1, SIDE, SIDE), dtype=np.float32)
        self.table = rng.dirichlet(np.ones(CLASSES), (2, POOL)).astype(np.float32)

    @property
    def _votes(self):
        return self.table


@pytest.fixture
def votes():
    return Known()


def answered(votes, pool_rows, exits, status="OK"):
    """A call with the right answer at those exits."""
    probabilities = votes.table[exits, pool_rows]
    response = pb.ModelInferResponse()
    for name, array in (
        ("PROBABILITIES", probabilities),
        ("LABEL", probabilities.argmax(axis=1).astype(np.int64)[:, None]),
        ("EXIT", np.array(exits, dtype=np.int32)[:, None]),
    ):
        response.outputs.add(name=name, shape=list(array.shape))
        response.raw_output_contents.append(array.tobytes())
    return Call(0.0, b"", np.array(pool_rows), None, 0.1, status, "", response.SerializeToString())


def test_right_answers_at_their_own_exits_are_right(votes):
    tally = Tally(votes)
    tally.add(answered(votes, [3, 5], [0, 1]))
    assert (tally.rows_answered, tally.wrong_rows) == (2, 0)


def test_the_vote_of_another_exit_is_wrong(votes):
    call = answered(votes, [3, 5], [0, 1])
    votes.table = votes.table[::-1]
    tally = Tally(votes)
    tally.add(call)
    assert tally.wrong_rows == 2


def test_an_answer_for_fewer_rows_than_were_sent_is_wrong(votes):
    call = answered(votes, [3], [0])
    call.pool_rows = np.array([3, 5])
    tally = Tally(votes)
    tally.add(call)
    assert tally.wrong_rows == 2


def test_a_call_that_never_ended_is_lost_and_so_is_one_whose_patience_did(votes):
    tally = Tally(votes, sent=3)
    tally.add(answered(votes, [3], [0]))
    tally.add(Call(0.0, b"", np.array([1]), None, 60.0, "DEADLINE_EXCEEDED"))
    assert tally.lost == 2


def test_an_error_that_nobody_expects_is_kept_with_its_text(votes):
    tally = Tally(votes)
    tally.add(Call(0.0, b"", np.array([1]), None, 0.1, "INTERNAL", "boom"))
    assert tally.odd == {"INTERNAL: boom": 1}


def test_mixed_calls_hold_what_they_say(votes):
    calls = list(mixed_calls(votes, 200.0, 20.0, seed=3))
    requests = [pb.ModelInferRequest.FromString(call.content) for call in calls]
    assert all(
        request.inputs[0].shape[0] == len(call.pool_rows)
        and request.raw_input_contents[0] == votes.rows[call.pool_rows].tobytes()
        for request, call in zip(requests, calls, strict=True)
    )
    assert {request.parameters["service_class"].string_param for request in requests if request.parameters} >= {GOLD}
    assert np.mean([call.cancel_after_s is not None for call in calls]) == pytest.approx(CANCELLED_SHARE, abs=0.02)


def test_a_message_reads_back(votes):
    request = pb.ModelInferRequest.FromString(message(votes.rows[:2], deadline_ms=5.0))
    assert request.parameters["deadline_ms"].double_param == 5.0 and list(request.inputs[0].shape) == [2, 1, SIDE, SIDE]


def test_an_answers_outputs_of_one_value_a_row_are_flat(votes):
    arrays = answer_of(answered(votes, [3, 5], [0, 1]).answer)
    assert (arrays["LABEL"].shape, arrays["PROBABILITIES"].shape) == ((2,), (2, CLASSES))


def test_p99_is_told_by_window():
    times = [(0.5, 0.01), (1.0, 0.02), (6.0, 0.5)]
    first, second, third = p99s_ms(times, 0.0, 3, 5.0)
    assert (first, second, np.isnan(third)) == (pytest.approx(19.9), pytest.approx(500.0), True)


def test_growth_is_told_after_the_warm_up_half_way_and_at_the_end():
    watch = MemoryWatch(0, "", megabytes={"a": [1.0, 50.0, 99.0, *[100.0] * 4, *[101.0] * 5, *[102.0] * 2]})
    assert watch.growth((0.3, 0.65, 1.0)) == {"a": [100.0, 101.0, 102.0]}


def test_memory_is_kept_minute_by_minute():
    watch = MemoryWatch(0, "", megabytes={"a": [*[100.0] * 30, *[101.0] * 30, 103.0]})
    assert watch.by_minute() == {"a": [100.0, 101.0, 103.0]}


def test_what_is_left_of_the_kills_evens_out_what_was_made():
    kinds = len(MODES) * len(VICTIMS) * len(ACTIONS)
    victim = next(iter(VICTIMS))
    trials = [Trial("engine", victim, "killed", 0.1, 0.1, 0, True, 0)]
    remaining_trials = left_to_do(trials, 2)
    assert len(remaining_trials) == 2 * kinds - 1
    assert ("engine", victim, "killed") not in remaining_trials[: kinds - 1]


def test_the_report_of_a_soak_tells_what_was_lost_and_how_memory_grew(votes):
    tally = Tally(votes, sent=2)
    tally.add(answered(votes, [3], [0]))
    memory = {"tiny_exit": [100.0, 103.0, 103.0]}
    stretch = Stretch(1.0, 50.0, tally.sent, 1, 0, 0, tally.lost, 0, 0, {}, 20.0, [30.0, 20.0], memory, {})
    text = soak.markdown({"engine": [stretch.to_mapping()]}, {"cores": 2})
    assert "| engine | 1 | 50 | 2 | 1 | 0 | 0 | 1 |" in text
    assert "| engine | tiny_exit | 100.0 | 103.0 | 103.0 | +3.0%, then +0.0% |" in text


def test_a_soak_ends_with_its_server_and_says_so(votes):
    class Ended:
        """A server that ends after it was asked twice."""

        asked = 0

        def running(self):
            self.asked += 1
            return self.asked <= 2

    class Caller:
        def play(self, calls, on_end):
            yield from calls

    tally = Tally(votes)
    calls = iter([Call(60.0 * number, b"", np.array([0])) for number in range(10)])
    soak._play(Ended(), Caller(), calls, tally, starts_s=60.0)
    assert tally.sent == 2 and dict(tally.odd) == {"Triton itself ended after 2.0 minutes": 1}


def test_a_soak_through_the_gateway_is_called_so(votes):
    stretch = Stretch(1.0, 50.0, 0, 0, 0, 0, 0, 0, 0, {}, 20.0, [20.0], {"gateway": [1.0, 1.0, 1.0]}, {})
    text = soak.markdown({"engine": [{"through_gateway": True, **stretch.to_mapping()}]}, {"cores": 2})
    assert "| engine, gateway | 1 |" in text and "| engine, gateway | gateway |" in text


def test_the_memory_of_further_processes_is_watched_by_name():
    with MemoryWatch(os.getpgid(0), "no server of this name", {"gateway": os.getpid()}) as watch:
        pass
    assert watch.peak_mb()["gateway"] > 0.0


def test_a_polite_callers_wait_counts_whether_it_was_answered_or_refused():
    calls = [Call(0.0, b"", np.array([0]), None, 0.2, "OK"), Call(0.1, b"", np.array([1]), None, 0.7, "UNAVAILABLE")]
    summary = storm.summary("storm", calls)
    assert (summary.answered, summary.refused, summary.failed, summary.longest_s) == (0.5, 1, 0, 0.7)


def test_the_report_of_a_storm_says_if_triton_ended():
    one = {"stretches": [asdict(storm.summary("storm", [Call(0.0, b"", np.array([0]), None, 0.2, "OK")]))]}
    one |= {"able_per_s": 100.0, "storm_calls": 7, "triton_ended": True, "peak_mb": {"tritonserver": 60.0}}
    text = storm.markdown({"engine": {"the storm's class": one}}, {"cores": 2}, through_gateway=False)
    assert "Triton itself ended in it." in text and "| engine | the storm's class | storm | 1 | 100.0% |" in text
