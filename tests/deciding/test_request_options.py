import math

import pytest

from exeunt.deciding.request import parse_options, read_parameters
from exeunt.errors import RequestError
from exeunt.settings import Settings

SETTINGS = Settings(service_classes={"gold": 0.001})


def test_no_parameters_are_no_wishes():
    options = parse_options({}, SETTINGS)
    assert (
        not options.never
        and options.deadline_us is None
        and math.isinf(options.max_risk)
        and options.service_class == 0
    )


def test_every_parameter_is_read():
    table = {"exit": "never", "deadline_ms": 2.5, "max_risk": 0.25, "service_class": "gold"}
    options = parse_options(table, SETTINGS)
    assert (options.never, options.deadline_us, options.max_risk, options.service_class) == (True, 2500, 0.25, 1)


def test_numbers_may_come_as_text_since_some_clients_send_nothing_else():
    assert parse_options({"deadline_ms": "7"}, SETTINGS).deadline_us == 7000


@pytest.mark.parametrize("content", [b'{"exit": "\xff\xfe"}', b"{", b"[1]"])
def test_parameters_that_are_no_text_are_the_callers_fault(content):
    with pytest.raises(RequestError, match="parameters: expected"):
        read_parameters(lambda: content.decode())
    assert read_parameters(lambda: "") == {}


def test_parameters_of_others_are_left_alone():
    assert not parse_options({"trace_id": "abc"}, SETTINGS).never


def test_the_configured_deadline_holds_for_requests_that_name_none():
    assert parse_options({}, Settings(deadline_ms=20)).deadline_us == 20_000


@pytest.mark.parametrize(
    ("table", "timeout_us", "deadline_us", "hurries"),
    [
        ({}, 7000, 7000, False),
        ({"deadline_ms": 2}, 7000, 2000, True),
        ({"deadline_ms": 9}, 7000, 7000, True),
        ({"exit": "never"}, 0, None, False),
    ],
)
def test_a_timeout_is_a_deadline_for_which_no_work_is_chosen(table, timeout_us, deadline_us, hurries):
    options = parse_options(table, SETTINGS, timeout_us)
    assert (options.deadline_us, options.hurries) == (deadline_us, hurries)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("exit", "early", '"never"'),
        ("exit", 3, '"never"'),
        ("deadline_ms", 0, "above 0"),
        ("deadline_ms", -1, "above 0"),
        ("deadline_ms", math.nan, "above 0"),
        ("deadline_ms", "soon", "above 0"),
        ("deadline_ms", True, "above 0"),
        ("max_risk", 1.5, "up to 1"),
        ("max_risk", -0.1, "above 0"),
        ("max_risk", "", "above 0"),
        ("service_class", "silver", "'gold'"),
        ("service_class", 1, "'gold'"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_what_is(key, value, allowed):
    with pytest.raises(RequestError, match=f"parameter {key}") as refusal:
        parse_options({key: value}, SETTINGS)
    assert allowed in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "table", "timeout_us"),
    [(SETTINGS, {"deadline_ms": 30}, 0), (SETTINGS, {}, 30_000), (Settings(deadline_ms=30), {}, 0)],
)
def test_what_was_waited_for_before_counts_against_every_kind_of_deadline(settings, table, timeout_us):
    assert parse_options(table | {"waited_us": 12_000}, settings, timeout_us).deadline_us == 18_000


def test_who_has_waited_for_longer_than_his_deadline_is_overdue_at_once():
    assert parse_options({"deadline_ms": 5, "waited_us": 90_000}, SETTINGS).deadline_us == 1


def test_a_deadline_of_less_than_a_microsecond_is_one():
    assert parse_options({"deadline_ms": 1e-9}, SETTINGS).deadline_us == 1


def test_having_waited_makes_no_deadline():
    assert parse_options({"waited_us": 12_000}, SETTINGS).deadline_us is None
