"""The ledger's rule, one sentence at a time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.errors import ConfigError
from exeunt.sharing.ledger import DEAD_AFTER_S, KEEP_S, MOST_OVER, Ledger, Message, Reply, exchange
from exeunt.sharing.ledger_text import from_text, to_text
from tests.sharing.fleet import living

RUN = "run"


class Store:
    """A ledger that takes messages."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = ledger or Ledger.empty()
        self.now_s = 1000.0
        self.run = RUN

    def wait(self, seconds: float) -> None:
        """Time passes in which others speak."""
        self.ledger = replace(self.ledger, clock_s=self.ledger.clock_s + seconds)

    def say(self, life: str, number: int, **rest: object) -> Reply:
        message = Message(life, number, str(rest.pop("run_id", "" if number == 1 else RUN)), most=16.0, **rest)  # type: ignore[arg-type]
        self.ledger, reply = exchange(self.ledger, message, self.now_s, self.run)
        return reply


def with_savings(losses: float) -> Store:
    """A store where life `a` has handed over savings."""
    store = Store()
    store.say("a", 1)
    store.say("a", 2, deposit=losses)
    return store


def test_savings_handed_over_are_given_to_one_who_asks_and_then_gone() -> None:
    store = with_savings(3.0)
    assert store.say("b", 1, want=2.0).savings == 2.0
    assert store.say("c", 1, want=2.0).savings == 1.0
    assert store.say("d", 1, want=2.0).savings == 0.0


def test_a_message_that_comes_twice_counts_once() -> None:
    store = with_savings(3.0)
    store.say("a", 2, deposit=3.0)
    assert store.ledger.savings == 3.0
    assert store.say("b", 1, want=2.0) == store.say("b", 1, want=2.0)
    assert store.ledger.savings == 1.0


def test_savings_of_another_run_of_the_store_are_void() -> None:
    store = with_savings(3.0)
    store.run = "another"
    assert store.say("b", 1, want=2.0).savings == 0.0


def test_savings_that_were_sent_off_under_another_run_are_void() -> None:
    store = with_savings(0.0)
    store.run = "another"
    store.say("a", 3, deposit=3.0, run_id=RUN)
    assert store.ledger.savings == 0.0


def test_debt_outlives_a_run_of_the_store() -> None:
    store = Store()
    store.say("a", 1)
    store.say("a", 2, deposit=-2.0, final=True)
    store.run = "another"
    assert store.say("b", 1).debt == 2.0


def test_savings_of_a_life_that_a_wiped_store_does_not_know_are_void() -> None:
    store = with_savings(3.0)
    store.say("b", 1, want=3.0)
    store.ledger = Ledger.empty()
    store.say("a", 2, deposit=3.0)  # its reply had been lost
    assert store.ledger.savings == 0.0


def test_debt_is_taken_before_any_savings() -> None:
    store = with_savings(3.0)
    store.say("b", 1)
    store.say("b", 2, deposit=-0.5, final=True)
    reply = store.say("c", 1, want=2.0)
    assert (reply.debt, reply.savings) == (0.5, 0.0)


def test_debt_is_shared_among_the_living() -> None:
    store = Store()
    for life in "abcd":
        store.say(life, 1)
    store.say("d", 2, deposit=-9.0, final=True)
    assert store.say("a", 2).debt == 3.0


def test_what_a_silent_life_owed_is_debt_of_the_others() -> None:
    store = Store()
    store.say("a", 1)
    store.say("a", 2, owed=5.0)
    store.wait(DEAD_AFTER_S + 1)
    assert store.say("b", 1).debt == 5.0


def test_nobody_is_dead_because_the_store_was_away() -> None:
    store = Store()
    store.say("a", 1)
    store.say("a", 2, owed=5.0)
    store.say("b", 1)
    store.now_s += 3600.0
    assert store.say("b", 2).debt == 0.0


def test_who_is_silent_while_another_speaks_is_dead() -> None:
    store = Store()
    store.say("a", 1)
    store.say("a", 2, owed=5.0)
    debts = []
    for number in range(1, 10):
        store.now_s += 5.0
        debts.append(store.say("b", number).debt)
    assert debts == [0.0] * 6 + [5.0, 0.0, 0.0]


def test_what_a_life_has_just_taken_is_not_lost_with_it() -> None:
    store = Store()
    store.say("a", 1)
    store.say("a", 2, deposit=-2.0, final=True)
    assert store.say("b", 1).debt == 2.0  # and is killed before it can say so
    store.wait(DEAD_AFTER_S + 1)
    assert store.say("c", 1).debt == 2.0


def test_a_life_that_was_taken_for_dead_takes_back_what_it_owes_itself() -> None:
    store = Store()
    store.say("a", 1)
    store.say("b", 1)
    store.say("a", 2, owed=5.0)
    store.wait(DEAD_AFTER_S + 1)
    assert store.say("b", 2).debt == 5.0 / 1  # alone among the living
    store.say("b", 3, owed=5.0, deposit=-5.0, final=True)
    store.say("a", 3, owed=5.0)
    assert store.ledger.debt == 0.0 and living(store.ledger) == 1


def test_a_life_that_was_taken_for_dead_hands_over_no_savings() -> None:
    store = Store()
    store.say("a", 1)
    store.wait(DEAD_AFTER_S + 1)
    store.say("b", 1)
    store.say("a", 2, deposit=3.0)
    assert store.ledger.savings == 0.0
    store.say("a", 3, deposit=3.0)
    assert store.ledger.savings == 3.0  # it is alive again


@pytest.mark.parametrize("silent", [False, True])
def test_a_restart_on_the_same_files_inherits_what_the_life_before_owed(silent: bool) -> None:
    store = Store()
    store.say("a", 1)
    store.say("a", 2, owed=5.0)
    store.wait(DEAD_AFTER_S + 1 if silent else 0.0)
    reply = store.say("b", 1, was="a")
    assert (reply.inherited, reply.debt, store.ledger.debt) == (5.0, 0.0, 0.0)


def test_an_end_that_was_not_answered_is_undone_by_the_restart_on_the_same_files() -> None:
    store = Store()
    store.say("a", 1)
    store.say("a", 2, deposit=-2.0, final=True)
    reply = store.say("b", 1, was="a")
    assert (reply.inherited, reply.debt, store.ledger.debt) == (2.0, 0.0, 0.0)


def test_the_savings_at_rest_are_bounded() -> None:
    store = with_savings(15.0)
    store.say("a", 3, deposit=15.0)
    assert store.ledger.savings == 16.0


def test_lives_that_are_over_are_forgotten() -> None:
    store = Store()
    for number in range(MOST_OVER + 10):
        store.say(f"life{number}", 1)
        store.say(f"life{number}", 2, final=True)
    assert len(store.ledger.lives) <= MOST_OVER + 1
    store.wait(KEEP_S + 1)
    store.say("last", 1)
    assert list(store.ledger.lives) == ["last"]


losses = st.floats(0.0, 50.0)
messages = st.tuples(
    st.sampled_from("abc"), losses, st.floats(-50.0, 50.0), losses, st.booleans(), st.sampled_from(["", "a"])
)


@given(st.lists(st.tuples(messages, st.floats(0.0, 40.0)), max_size=30))
def test_the_ledger_survives_its_text_and_never_goes_below_nothing(
    conversation: list[tuple[tuple[str, float, float, float, bool, str], float]],
) -> None:
    store, numbers = Store(), dict.fromkeys("abc", 0)
    for (life, owed, deposit, want, final, was), later_s in conversation:
        store.now_s += later_s
        numbers[life] += 1
        deposit = deposit if final or deposit > 0.0 else 0.0
        store.say(life, numbers[life], owed=owed, deposit=deposit, want=want, final=final, was=was)
        assert from_text(to_text(store.ledger), "key") == store.ledger
        assert store.ledger.debt >= 0.0 and store.ledger.savings >= 0.0


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "{}",
        "[" * 100_000,
        '{"schema_version":1,"run_id":"r","savings":-1,"debt":0,"lives":{}}',
        '{"schema_version":1,"run_id":"r","savings":NaN,"debt":0,"lives":{}}',
        '{"schema_version":1,"run_id":"r","savings":1e999,"debt":0,"lives":{}}',
        '{"schema_version":1,"run_id":1,"savings":0,"debt":0,"lives":{}}',
        '{"schema_version":1,"run_id":"r","savings":0,"debt":0,"lives":{"a":{}}}',
        '{"schema_version":1,"run_id":"r","savings":0,"debt":true,"lives":{}}',
        '{"schema_version":1,"run_id":"r","savings":0,"debt":0,"more":0,"lives":{}}',
        '{"schema_version":2,"run_id":"r","savings":0,"debt":0,"lives":{}}',
    ],
)
def test_what_is_no_ledger_is_refused_by_the_name_of_its_key(text: str) -> None:
    with pytest.raises(ConfigError, match="the-key"):
        from_text(text, "the-key")


def test_a_life_of_a_wrong_kind_is_refused() -> None:
    store = Store()
    store.say("a", 1)
    table = json.loads(to_text(store.ledger))
    for key, value in (("owed", -1.0), ("over", 1), ("seen_s", "now"), ("reply", None)):
        changed = json.loads(json.dumps(table))
        changed["lives"]["a"][key] = value
        with pytest.raises(ConfigError):
            from_text(json.dumps(changed), "key")
