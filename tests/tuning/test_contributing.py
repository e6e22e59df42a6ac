"""The example of CONTRIBUTING.md is a tuner that works."""

from __future__ import annotations

import re

import numpy as np

from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.settings import Settings
from exeunt.tuning.tuner import Setup, Tuner, View
from tests.places import ROOT

GUIDE = ROOT / "CONTRIBUTING.md"


def example() -> Tuner:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, type[Tuner]] = {}
    exec(compile(code, str(GUIDE), "exec"), names)
    nothing = Feedback.observed(np.zeros((0, 3), dtype=int), np.zeros((0, 3)))
    costs = Costs(np.array([1.0, 2.0, 3.0]), np.zeros(3))
    return names["Ratchet"](Setup(costs, Settings(tuner_options={"step": 0.25}), nothing))


def test_the_example_opens_while_nothing_is_lost_and_closes_after_a_loss() -> None:
    tuner = example()
    right = Feedback.observed(np.zeros((8, 3), dtype=int), np.full((8, 3), 0.8))
    view = View(right.labels, right.confidence, right.service_class)
    assert not tuner.leaves(0, view).any()
    tuner.learn(right)
    assert tuner.leaves(0, view).all()
    right.answer[0] = 1
    tuner.learn(right)
    assert not tuner.leaves(0, view).any()


def test_the_example_keeps_its_state() -> None:
    first, second = example(), example()
    first.learn(Feedback.observed(np.zeros((8, 3), dtype=int), np.full((8, 3), 0.8)))
    second.restore(first.state(), clean=True)
    np.testing.assert_array_equal(first.thresholds(), second.thresholds())
