"""Policies by the names that the command line takes: `budget`, `hill_climb:constants=public_code`, ..."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from exeunt.errors import ConfigError, check_known
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.replay.replay import replay
from exeunt.replay.run import ReplayRun
from exeunt.replay.stream import VoteStream
from exeunt.settings import Settings, json_or_text
from exeunt.tuning.registry import TUNERS, make_tuner
from exeunt.tuning.tuner import Setup

_BETWEEN_POLICIES = re.compile(r",(?![^\[]*\])")  # a comma that is not inside [...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A tuner with its options.

    Attributes:
        label: for tables.
        tuner: name in the registry.
        options: keyword arguments of the tuner.
    """

    label: str
    tuner: str
    options: dict[str, Any]

    def settings(self, base: Settings, max_loss: float | None = None) -> Settings:
        """`base` with this tuner, and another promise where `max_loss` is given."""
        max_loss = base.max_loss if max_loss is None else max_loss
        return dataclasses.replace(base, tuner=self.tuner, tuner_options=self.options, max_loss=max_loss)


def parse_policies(text: str) -> list[Policy]:
    """Read `name[:key=value]...`, several separated by commas; values are JSON or bare words.

    >>> parse_policies("budget,hill_climb:constants=public_code:adjust=false")[1].options
    {'constants': 'public_code', 'adjust': False}

    Raises:
        ConfigError: an unknown tuner, or an option without value.
    """
    policies = []
    for label in filter(None, (part.strip() for part in _BETWEEN_POLICIES.split(text))):
        name, *pairs = label.split(":")
        check_known("tuner", name, TUNERS, "--tuner")
        options = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise ConfigError(f"--tuner {label}: {pair!r} has no value; allowed: name:key=value")
            options[key] = json_or_text(value)
        policies.append(Policy(label, name, options))
    if not policies:
        raise ConfigError(f"--tuner {text!r} names none; allowed: {', '.join(TUNERS)}")
    return policies


def run_policy(
    policy: Policy,
    stream: VoteStream,
    costs: Costs,
    settings: Settings,
    calibration: Feedback,
    *,
    seed: int = 0,
) -> ReplayRun:
    """Replay a stream with a fresh tuner.

    Args:
        policy: the tuner and its label; `settings` must be those of `policy.settings`.
        stream: what to replay.
        costs: latency of the exits.
        settings: promise, lossless stop, shadow share.
        calibration: what the tuner starts from; may be empty.
        seed: of the tuner's chance and the shadow coins.
    """
    tuner = make_tuner(Setup(costs, settings, calibration, seed))
    return replay(stream, tuner, costs, settings, seed=seed, policy=policy.label)
