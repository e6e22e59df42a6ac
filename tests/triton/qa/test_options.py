"""C7: a request parameter outside what is allowed is refused with what is; those of others are left alone."""

import json

import pytest
from tritonclient.utils import InferenceServerException

from exeunt.contract import Reason
from tests.triton.calls import ask
from tests.triton.qa.bag import ROWS
from tests.triton.qa.wire import infer, tensor

pytestmark = pytest.mark.triton
RISK, DEADLINE = "a number above 0 and up to 1,", "a number above 0 and up to 8.64e"
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        *(("max_risk", value, RISK) for value in (-1.0, 0.0, 2.0, 1e300, "x", "nan", "", True)),
        *(("deadline_ms", value, DEADLINE) for value in (-1, 0, 1e300, 10**18, "soon", "inf", False)),
        *(("exit", value, '"never"') for value in ("early", "NEVER", 3, True)),
        *(("service_class", value, "'gold'") for value in ("silver", "gold ", 7, True)),
    ],
)
@BOTH
def test_c7_a_value_that_is_not_allowed_is_refused_with_what_is(served, protocol, key, value, allowed):
    with pytest.raises(InferenceServerException) as caught:
        ask(served.server, protocol, ROWS, **{key: value})
    assert f"parameter {key}: expected" in str(caught.value) and allowed in str(caught.value)
    assert caught.value.status() == {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"}[protocol]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**30, [1], {}, None])
@pytest.mark.parametrize("key", ["max_risk", "deadline_ms", "exit", "service_class"])
def test_c7_json_that_is_no_parameters_value_is_refused(served, key, value):
    body = json.dumps({"inputs": [tensor(ROWS)], "parameters": {key: value}}).encode()
    status, text = infer(served.server.http_url, body)
    assert status == 400 and key in text


@BOTH
def test_c7_a_parameter_of_somebody_else_changes_nothing(served, protocol):
    outputs = ask(served.server, protocol, ROWS, nobodys=3, exit="never", Max_Risk=-1)
    assert (outputs["REASON"] == Reason.FULL).all() and served.wrong(outputs) == []


@BOTH
@pytest.mark.parametrize(
    "wish", [{"max_risk": "0.5"}, {"deadline_ms": "60000"}, {"max_risk": 1}, {"service_class": ""}, {"exit": ""}]
)
def test_c7_a_number_may_come_as_text_and_no_wish_as_an_empty_one(served, protocol, wish):
    assert served.wrong(ask(served.server, protocol, ROWS, **wish)) == []
