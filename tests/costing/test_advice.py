"""`exeunt advise`: the verdict and its hints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.costing import forecast
from exeunt.costing.advice import advise
from exeunt.costing.timed_bag import TimedBag, timed_bag
from tests.engine.scenes import engine_bag


@pytest.fixture(autouse=True)
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "REQUESTS", 200)


BAG = timed_bag(engine_bag([[10_000, 10_000], [20_000]], ((1, 0), (2, 1))), (0.6, 0.4), 2)
POINT = {"max_loss": 0.01, "leaves": [0.6, 0.4], "rows": 5000, "unseen_loss": 0.01}
REPORT: dict[str, Any] = {"member_agreement": {"a": 0.9, "b": 0.95}, "expected": [POINT]}


def small(bag: TimedBag) -> TimedBag:
    """The same bag with members that take a fiftieth of the time."""
    mix = dataclasses.replace(bag.mix, work_us=bag.mix.work_us / 50)
    return dataclasses.replace(bag, mix=mix, passes_us=tuple(passes_us / 50 for passes_us in bag.passes_us))


def test_exits_that_save_time_are_advised_without_a_word_more() -> None:
    advice = advise(BAG, 10.0, REPORT, 0.01)
    assert advice.pays and advice.forecasts[0].saving > 0.2 and not advice.hints


def test_a_forecast_has_an_interval_that_narrows_with_the_rows_it_was_made_from() -> None:
    few, many = (
        advise(BAG, 10.0, REPORT | {"expected": [POINT | {"rows": rows}]}, 0.01).forecasts[0] for rows in (20, 20_000)
    )
    for prediction in (few, many):
        assert prediction.p50_range_ms[0] < prediction.p50_ms < prediction.p50_range_ms[1]
        assert prediction.p99_range_ms[0] < prediction.p99_ms < prediction.p99_range_ms[1]
    widths = [prediction.p50_range_ms[1] - prediction.p50_range_ms[0] for prediction in (few, many)]
    assert widths[0] > widths[1]


def test_small_bags_are_told_not_to() -> None:
    advice = advise(small(BAG), 10.0, REPORT, 0.01)
    assert not advice.pays and advice.forecasts[0].saving < 0
    assert any("asking for exits costs about as much" in hint for hint in advice.hints)


def test_bags_where_nobody_leaves_are_told_not_to_and_what_a_looser_promise_would_do() -> None:
    looser = POINT | {"max_loss": 0.02, "leaves": [0.7, 0.3]}
    advice = advise(BAG.with_shares(np.array([0.0, 1.0])), 10.0, REPORT | {"expected": [POINT, looser]}, 0.01)
    assert not advice.pays
    assert any("only 0% leave early; at a promised loss of 2.0% it would be 70%" in hint for hint in advice.hints)


@pytest.mark.parametrize(
    ("report", "hint"),
    [
        ({"member_agreement": {"a": 0.995}}, "member a alone agrees with the vote on 99.5%"),
        ({"expected": [POINT | {"rows": 300}]}, "300 calibration rows are few"),
        ({"expected": [POINT | {"unseen_loss": 0.05}]}, "5.0% would be lost"),
    ],
)
def test_what_should_be_known_is_said(report: dict[str, Any], hint: str) -> None:
    assert any(hint in line for line in advise(BAG, 10.0, REPORT | report, 0.01).hints)


def test_near_capacity_less_feedback_is_advised_and_beyond_it_the_plain_ensemble_is_overloaded() -> None:
    near = advise(BAG, 45.0, REPORT, 0.01)  # 2 cores, 40 ms: 50 a second
    assert any("--feedback 0.1" in hint for hint in near.hints)
    assert advise(BAG, 60.0, REPORT, 0.01).forecasts[0].plain_p50_ms == np.inf


def test_the_verb_prints_a_verdict_and_json(tiny_exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", str(tiny_exported), "--seconds", "0.1"]) == 0
    assert "do not use exits here" in capsys.readouterr().out
    assert main(["advise", str(tiny_exported), "--rate", "5", "--seconds", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pays"] is False


@pytest.mark.parametrize("extra", [["--rate", "0"], ["--bag", "other"], ["--seconds", "-1"], ["--input", "none.npy"]])
def test_what_cannot_be_advised_is_said(
    tiny_exported: Path, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["advise", str(tiny_exported), *extra]) == 78
    assert extra[-1] in capsys.readouterr().err
