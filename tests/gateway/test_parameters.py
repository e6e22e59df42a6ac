import pytest

from exeunt.contract import INTERNAL_PARAMETERS
from exeunt.deciding.request import ParsedOptions, parse_options
from exeunt.gateway.grpc_messages import parameters_of, set_parameters
from exeunt.gateway.parameters import ClassRule, after_waiting, passed_on
from exeunt.settings import Settings

pb = pytest.importorskip("tritonclient.grpc", reason="pip install 'exeunt[gateway]'").service_pb2


@pytest.mark.parametrize(
    ("rule", "headers", "service_class"),
    [
        (ClassRule(), {"x-class": "gold"}, None),
        (ClassRule(fixed="gold"), {}, "gold"),
        (ClassRule(header="X-Class"), {"x-class": "gold"}, "gold"),
        (ClassRule(header="X-Class"), {}, ""),
    ],
)
def test_the_rule_says_who_names_the_class(rule, headers, service_class):
    assert rule.of(headers) == service_class


@pytest.mark.parametrize(
    ("service_class", "expected"), [(None, {"service_class": "lead"}), ("gold", {"service_class": "gold"}), ("", {})]
)
def test_a_class_that_is_set_replaces_the_callers(service_class, expected):
    assert passed_on({"service_class": "lead"}, service_class, None) == (expected, 0)


@pytest.mark.parametrize(
    ("timeout", "remaining_s", "timeout_us"),
    [({}, 0.25, 250_000), ({"timeout": 1000}, 0.25, 1000), ({"timeout": 10**9}, 0.25, 250_000), ({}, -1.0, 1)],
)
def test_a_callers_deadline_becomes_a_timeout_unless_its_own_is_shorter(timeout, remaining_s, timeout_us):
    assert passed_on(timeout, None, remaining_s) == ({"timeout": timeout_us}, timeout_us)


def test_without_a_deadline_nothing_is_added():
    assert passed_on({"exit": "never"}, None, None) == ({"exit": "never"}, 0)


def test_the_time_waited_here_counts_against_the_deadline():
    table, timeout_us = passed_on({"deadline_ms": 50}, None, None)
    options = parse_options(table, Settings(), timeout_us)
    assert options.deadline_us == 50_000
    later = parse_options(after_waiting(table, options, 20_000), Settings(), timeout_us)
    assert later.deadline_us == 30_000


def test_callers_cannot_send_what_our_own_models_and_the_gateway_say():
    assert passed_on(dict.fromkeys(INTERNAL_PARAMETERS, "7"), None, None)[0] == {}
    assert after_waiting({"exit": "never"}, ParsedOptions(never=True), 20_000) == {"exit": "never"}


def test_only_what_is_ours_is_changed_in_a_message():
    request = pb.ModelInferRequest()
    request.parameters["max_risk"].double_param = 0.1
    request.parameters["nobodys"].SetInParent()
    request.parameters["service_class"].string_param = "lead"
    request.parameters["waited_us"].int64_param = 3
    request.parameters["timeout"].int64_param = 7
    table = parameters_of(request)
    set_parameters(request, {**passed_on(table, "gold", None)[0], "waited_us": 12})
    assert parameters_of(request) == {
        "max_risk": 0.1,
        "nobodys": None,
        "service_class": "gold",
        "waited_us": 12,
        "timeout": 7,
    }
