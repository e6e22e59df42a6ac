from __future__ import annotations

import numpy as np
import pytest

from exeunt.contract import EXIT, LABEL, PROBABILITIES, REASON, RISK, Reason
from exeunt_client.answers import NO_EXIT, Answers
from exeunt_client.errors import RequestError, ServingError
from exeunt_client.options import RequestOptions

OUTPUTS = {
    PROBABILITIES: np.array([[0.1, 0.9], [0.7, 0.3]], dtype=np.float32),
    LABEL: np.array([[1], [0]], dtype=np.int64),
    EXIT: np.array([[2], [0]], dtype=np.int32),
    REASON: np.array([[0], [1]], dtype=np.int32),
    RISK: np.array([[0.0], [0.25]], dtype=np.float32),
}


def test_a_row_of_a_batch_is_a_typed_answer() -> None:
    answer = Answers.from_outputs(OUTPUTS, ("cat", "dog"))[1]
    assert (answer.label, answer.label_name, answer.exit, answer.reason, answer.risk) == (
        0,
        "cat",
        0,
        Reason.EARLY,
        0.25,
    )


def test_rows_keep_their_order() -> None:
    assert [answer.label for answer in Answers.from_outputs(OUTPUTS)] == [1, 0]


def test_a_model_without_exits_answers_in_full() -> None:
    answers = Answers.from_outputs({PROBABILITIES: OUTPUTS[PROBABILITIES]})
    assert answers.labels.tolist() == [1, 0]
    assert answers.exits.tolist() == [NO_EXIT, NO_EXIT]
    assert answers.reasons.tolist() == [Reason.FULL, Reason.FULL]


def test_a_label_without_a_name_is_named_by_its_number() -> None:
    assert Answers.from_outputs(OUTPUTS)[0].label_name == "1"


def test_no_finite_vote_has_no_name() -> None:
    outputs = {**OUTPUTS, LABEL: np.array([[-1], [0]])}
    assert Answers.from_outputs(outputs, ("cat", "dog"))[0].label_name == "-1"


def test_an_answer_without_probabilities_is_the_servers_fault() -> None:
    with pytest.raises(ServingError, match="PROBABILITIES"):
        Answers.from_outputs({LABEL: OUTPUTS[LABEL]})


def test_tensors_that_disagree_on_rows_are_the_servers_fault() -> None:
    with pytest.raises(ServingError, match="EXIT"):
        Answers.from_outputs({**OUTPUTS, EXIT: np.zeros((3, 1), dtype=np.int32)})


def test_only_wishes_that_were_made_are_sent() -> None:
    assert RequestOptions(exit="never", deadline_ms=20).parameters() == {"exit": "never", "deadline_ms": 20.0}


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"exit": "soon"}, "exit"),
        ({"deadline_ms": 0.0}, "deadline_ms"),
        ({"deadline_ms": float("nan")}, "deadline_ms"),
        ({"max_risk": 1.5}, "max_risk"),
    ],
)
def test_an_impossible_wish_is_refused_by_name(wish: dict[str, object], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        RequestOptions(**wish)  # type: ignore[arg-type]
