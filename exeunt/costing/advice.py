"""Advice: whether exits pay for a bag, on this host and at this rate, and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from exeunt.costing.forecast import Forecast, forecast, most_per_s
from exeunt.costing.host_times import HostTimes, measure
from exeunt.costing.path_costs import TRACED
from exeunt.costing.shares import expected_shares, read_report
from exeunt.costing.timed_bag import TimedBag, timed_bag
from exeunt.engine.sessions import CPU, workers_of
from exeunt.errors import ServingError
from exeunt.serving.bags import ServedBag

PAYS = 0.05  # least saving of the mean latency that is worth having exits for
MEASURE_S = 5.0  # of runs of the members on this host
BUSY_HINT = "this host did other work while the members were measured: these forecasts are of a host that stays so busy"
FEW_ROWS = 1000  # calibration rows below which shares and losses are guesses
SEEN_ERRORS = 10  # wrong early rows from which on a loss is known within a third


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer.

    Attributes:
        pays: whether to use exits.
        forecasts: by rate; the asked one first.
        work_per_answer: with a tenth of the feedback, in times of the full ensemble's.
        plain_most_per_s: answers per second of the plain ensemble, to callers who never pause.
        most_per_s: with exits, likewise; feedback is then sampled as far as the settings allow.
        carried_per_s: highest rate at which the host still finishes every answered input.
        hints: what would help or should be known, in words.
    """

    pays: bool
    forecasts: tuple[Forecast, ...]
    work_per_answer: float
    plain_most_per_s: float
    most_per_s: float
    carried_per_s: float
    hints: tuple[str, ...]


def advise_bag(
    bag: ServedBag,
    rate_per_s: float | None = None,
    max_loss: float | None = None,
    inputs: Mapping[str, Any] | None = None,
    seconds: float = MEASURE_S,
) -> Advice:
    """Say whether exits pay for an exported bag on this host.

    Args:
        bag: opened.
        rate_per_s: that is expected; None: 30 % of what the plain ensemble carries.
        max_loss: the promise; None: the bag's own.
        inputs: see exeunt.costing.host_times.measure.
        seconds: for which the members are measured on this host; 0: take the export's times, which vary by nothing.

    Raises:
        ConfigError: no report of the export, or none for so small a loss; a file or an input is missing.
    """
    loss = bag.settings.max_loss if max_loss is None else max_loss
    timed, problem = timed_here(bag, loss, inputs, seconds)
    advice = advise(timed, rate_per_s, read_report(bag.folder), loss)
    return replace(advice, hints=(*advice.hints, problem)) if problem else advice


def timed_here(
    bag: ServedBag, max_loss: float, inputs: Mapping[str, Any] | None, seconds: float
) -> tuple[TimedBag, str]:
    """A bag on this host, and why nothing was measured, if it was not; arguments as for `advise_bag`."""
    times, problem = _times(bag, inputs, seconds)
    return timed_bag(bag.manifest, expected_shares(bag.folder, max_loss), workers_of(bag.settings), times), problem


def calibration_rows(report: Mapping[str, Any]) -> int:
    """Rows on which an export saw where answers leave."""
    return max((point["rows"] for point in report["expected"]), default=0)


def _times(bag: ServedBag, inputs: Mapping[str, Any] | None, seconds: float) -> tuple[HostTimes | None, str]:
    """What this host measures now, and why it measures nothing."""
    if not seconds:
        return None, ""
    if not bag.settings.providers.startswith(CPU):
        return None, "times are the export's: on a GPU, `exeunt profile` takes the server's own"
    try:
        times = measure(bag.manifest, bag.folder, workers_of(bag.settings), seconds, inputs)
        return times, BUSY_HINT if times.busy else ""
    except ServingError as error:
        return None, f"times are the export's, and vary by nothing ({error}); --input takes real rows"


def advise(bag: TimedBag, rate_per_s: float | None, report: Mapping[str, Any], max_loss: float) -> Advice:
    """Say whether exits pay for a bag at this rate, and what would help.

    Args:
        bag: on this host, leaving as its export expects.
        rate_per_s: that is expected; None: 30 % of what the plain ensemble carries.
        report: the export's report.json.
        max_loss: the promise.
    """
    mix = bag.mix
    room = bag.plain_room_per_s(TRACED)
    rates = dict.fromkeys([rate_per_s or 0.3 * room, 0.3 * room, 0.8 * room])
    rows = calibration_rows(report)
    forecasts = tuple(forecast(bag, rate, rows, TRACED) for rate in rates)
    return Advice(
        pays=forecasts[0].saving >= PAYS,
        forecasts=forecasts,
        work_per_answer=replace(mix, feedback=0.1).mean_work_us / mix.full_work_us,
        plain_most_per_s=most_per_s(bag, TRACED, plain=True),
        most_per_s=most_per_s(bag, TRACED, plain=False),
        carried_per_s=bag.room_per_s(TRACED),
        hints=tuple(_hints(bag, next(iter(rates)) / room, report, max_loss, rows)),
    )


def _hints(bag: TimedBag, load: float, report: Mapping[str, Any], max_loss: float, rows: int) -> list[str]:
    mix = bag.mix
    hints = _members_to_leave_out(report, max_loss)
    if mix.full_work_us < 3000.0:
        hints.append(
            f"a full vote takes {mix.full_work_us / 1000:.1f} ms of one core: asking for exits costs about as much"
        )
    if bag.mode == "ensemble" and mix.full_latency_us < 10_000.0:
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
