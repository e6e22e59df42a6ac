"""Advice: whether exits pay for a bag, on this host and at this rate, and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from exeunt.costing.answers import AnswerMix, answer_mix
from exeunt.costing.deployments import carried_per_s
from exeunt.costing.shares import expected_shares, read_report
from exeunt.costing.waiting import Way, latencies_us
from exeunt.engine.sessions import workers_of
from exeunt.serving.bags import ServedBag

# without exits, and by mode with them: requests to Magika's bag, traced on two cores of a virtual machine
PLAIN_WAY = Way(rest_us=2500.0, busy_us=3000.0)
WAYS = {"engine": Way(rest_us=3500.0, busy_us=3000.0), "ensemble": Way(rest_us=4000.0, busy_us=3000.0)}
PAYS = 0.05  # least saving of the mean latency that is worth having exits for
REQUESTS = 20_000  # simulated
RANGE_STREAMS, RANGE_REQUESTS = 20, 4000  # simulated for the interval of a forecast
SIMULATED_WITHIN = 0.15  # of measured latencies: tests/costing/test_measured_run.py
FEW_ROWS = 1000  # calibration rows below which shares and losses are guesses
SEEN_ERRORS = 10  # wrong early rows from which on a loss is known within a third

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What clients would see at one rate.

    Attributes:
        rate_per_s: requests per second.
        p50_ms: median latency with exits.
        p99_ms: 99th percentile.
        p50_range_ms: nine in ten times within, for the shares that leave were seen on few rows and a simulation errs.
        p99_range_ms: likewise.
        plain_p50_ms: of the plain ensemble.
        plain_p99_ms: likewise; infinity beyond what it carries.
        saving: of the mean latency, 0..1; negative where exits are slower.
    """

    rate_per_s: float
    p50_ms: float
    p99_ms: float
    p50_range_ms: Range
    p99_range_ms: Range
    plain_p50_ms: float
    plain_p99_ms: float
    saving: float


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer.

    Attributes:
        pays: whether to use exits.
        forecasts: by rate; the asked one first.
        work_per_answer: with a tenth of the feedback, in times of the full ensemble's.
        carried_per_s: highest rate that the host carries with full feedback; the plain ensemble's is the same.
        carried_sampled_per_s: with a tenth of the feedback.
        hints: what would help or should be known, in words.
    """

    pays: bool
    forecasts: tuple[Forecast, ...]
    work_per_answer: float
    carried_per_s: float
    carried_sampled_per_s: float
    hints: tuple[str, ...]


def advise_bag(bag: ServedBag, rate_per_s: float | None = None, max_loss: float | None = None) -> Advice:
    """Say whether exits pay for an exported bag on this host.

    Args:
        bag: opened.
        rate_per_s: that is expected; None: 30 % of what the plain ensemble carries.
        max_loss: the promise; None: the bag's own.

    Raises:
        ConfigError: no report of the export, or none for so small a loss.
    """
    loss = bag.settings.max_loss if max_loss is None else max_loss
    cores = workers_of(bag.settings)
    mix = answer_mix(bag.manifest, expected_shares(bag.folder, loss), cores)
    rate = 0.3 * carried_per_s(mix.plain(), cores) if rate_per_s is None else rate_per_s
    return advise(mix, bag.manifest.mode, cores, rate, read_report(bag.folder), loss)


def advise(
    mix: AnswerMix, mode: str, cores: int, rate_per_s: float, report: Mapping[str, Any], max_loss: float
) -> Advice:
    """Say whether exits pay for a bag at this rate, and what would help.

    Args:
        mix: its answers, as its export expected them, on this host.
        mode: "engine" or "ensemble".
        cores: of this host.
        rate_per_s: that is expected.
        report: the export's report.json.
        max_loss: the promise.
    """
    room = carried_per_s(mix.plain(), cores)
    sampled = replace(mix, feedback=0.1)
    rates = dict.fromkeys([rate_per_s, 0.3 * room, 0.8 * room])
    rows = max((point["rows"] for point in report["expected"]), default=0)
    forecasts = tuple(_forecast(mix, mode, cores, rate, rows) for rate in rates)
    return Advice(
        pays=forecasts[0].saving >= PAYS,
        forecasts=forecasts,
        work_per_answer=sampled.mean_work_us / sampled.full_work_us,
        carried_per_s=room,
        carried_sampled_per_s=carried_per_s(sampled, cores),
        hints=tuple(_hints(mix, mode, rate_per_s / room, report, max_loss, rows)),
    )


def _forecast(mix: AnswerMix, mode: str, cores: int, rate_per_s: float, rows: int) -> Forecast:
    rng = np.random.default_rng(0)
    arrivals_us = np.cumsum(rng.exponential(1e6 / rate_per_s, REQUESTS))
    exits_us = latencies_us(mix, arrivals_us, cores, np.random.default_rng(1), WAYS[mode])
    plain_us = latencies_us(mix.plain(), arrivals_us, cores, np.random.default_rng(1), PLAIN_WAY)
    beyond = rate_per_s > carried_per_s(mix.plain(), cores)
    p50, p99 = np.quantile(exits_us, [0.5, 0.99]) / 1000.0
    plain_p50, plain_p99 = (np.inf, np.inf) if beyond else np.quantile(plain_us, [0.5, 0.99]) / 1000.0
    saving = 1.0 - float(exits_us.mean() / plain_us.mean())
    p50_ms, p99_ms = _ranges_ms(mix, mode, cores, rate_per_s, rows)
    return Forecast(rate_per_s, float(p50), float(p99), p50_ms, p99_ms, float(plain_p50), float(plain_p99), saving)


def _ranges_ms(mix: AnswerMix, mode: str, cores: int, rate_per_s: float, rows: int) -> list[Range]:
    """Intervals of p50 and p99: the shares are drawn again as so many calibration rows might have had them."""
    rng = np.random.default_rng(2)
    quantiles = []
    for _ in range(RANGE_STREAMS):
        drawn = replace(mix, shares=rng.multinomial(rows, mix.shares) / rows) if rows else mix
        arrivals_us = np.cumsum(rng.exponential(1e6 / rate_per_s, RANGE_REQUESTS))
        latency_us = latencies_us(drawn, arrivals_us, cores, rng, WAYS[mode])
        quantiles.append(np.quantile(latency_us, [0.5, 0.99]) / 1000.0)
    low, high = np.quantile(quantiles, [0.05, 0.95], axis=0)
    ends = zip(low * (1.0 - SIMULATED_WITHIN), high * (1.0 + SIMULATED_WITHIN), strict=True)
    return [(float(first), float(last)) for first, last in ends]


def _hints(mix: AnswerMix, mode: str, load: float, report: Mapping[str, Any], max_loss: float, rows: int) -> list[str]:
    hints = _members_to_leave_out(report, max_loss)
    if mix.full_work_us < 3000.0:
        hints.append(
            f"a full vote takes {mix.full_work_us / 1000:.1f} ms of one core: asking for exits costs about as much"
        )
    if mode == "ensemble" and mix.full_latency_us < 10_000.0:
        hints.append(
            'mode = "engine" would save the hops between Triton\'s processes, a large share of the time of such a bag'
        )
    early = 1.0 - float(mix.shares[-1])
    if early < 0.3:
        hints.append(f"only {early:.0%} leave early{_looser(report, max_loss)}")
    if rows < FEW_ROWS or rows * max_loss < SEEN_ERRORS:
        hints.append(
            f"{rows} calibration rows are few for a loss of {max_loss:.2%}: these shares are guesses, give more samples"
        )
    unseen = [point["unseen_loss"] for point in report["expected"] if point["max_loss"] <= max_loss]
    if unseen and unseen[-1] > 2.0 * max_loss:
        hints.append(f"on rows that were not fitted on, {unseen[-1]:.1%} would be lost: in service fewer will leave")
    if load > 0.8:
        hints.append("near capacity full feedback has no room: `exeunt control NAME --feedback 0.1` halves the work")
    return hints


def _members_to_leave_out(report: Mapping[str, Any], max_loss: float) -> list[str]:
    """Hints at members that alone agree with the vote, and at members whose absence changes it, within the promise."""
    hints = []
    for member, agreement in report.get("member_agreement", {}).items():
        if agreement >= 1.0 - max_loss:
            hints.append(
                f"member {member} alone agrees with the vote on {agreement:.1%}: serve it alone, it is cheaper"
            )
    for one in report.get("member_choice", {}).get("without", []):
        if one["same_vote"] >= 1.0 - max_loss:
            hints.append(
                f"without member {one['member']} the vote stays the same on {one['same_vote']:.1%}: leave it out and "
                f"save {one['work_saved']:.0%} of the work"
            )
    return hints


def _looser(report: Mapping[str, Any], max_loss: float) -> str:
    """A hint at a looser promise, if it would let many more rows leave."""
    looser = [point for point in report["expected"] if point["max_loss"] > max_loss]
    if not looser:
        return ""
    point = min(looser, key=lambda one: one["max_loss"])
    return f"; at a promised loss of {point['max_loss']:.1%} it would be {1.0 - point['leaves'][-1]:.0%}"
