"""What a controller tells Prometheus: families, labels, values. The backend turns them into Triton's custom metrics.

Everything is read from the controller's cumulative counters about once a second, so serving pays nothing per row. The
latency histogram is written as three counter families with the names that histogram_quantile() expects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from exeunt.contract import Reason
from exeunt.deciding.controller import Controller
from exeunt.deciding.counters import LATENCY_BOUNDS_US, Counters
from exeunt.tuning.error_budget.class_budget import deviation

COUNTERS = {
    "exeunt_answers_total": "Rows answered, by exit and reason",
    "exeunt_release_latency_us_bucket": "Client requests released within le microseconds, by their last row's exit",
    "exeunt_release_latency_us_sum": "Summed release latency of client requests in microseconds",
    "exeunt_release_latency_us_count": "Client requests released",
    "exeunt_promised_rows_total": "Rows answered that the promise counts: no never, no NaN, no deadline, no fault",
    "exeunt_losses_total": "Early rows whose label was not the full vote's, each counted 1/q",
    "exeunt_class_losses_total": "Losses found, each counted 1/q, and early rows whose full vote never came, by class",
    "exeunt_class_promised_losses_total": "Promised share of losses, summed over the answers, by class: eps T",
    "exeunt_finished_rows_total": "Rows whose full vote became feedback",
    "exeunt_early_rows_total": "Finished rows that had left early",
    "exeunt_expected_losses_total": "Summed estimated risk of the rows that left early",
    "exeunt_abandoned_rows_total": "Early rows whose full vote never arrived, counted as losses by the tuner",
    "exeunt_refused_total": "Client requests refused because the server was full or stopping",
    "exeunt_errors_total": "Accepted client requests that got an error",
    "exeunt_tickets_total": "Batches admitted",
    "exeunt_thread_faults_total": "Errors that a background thread or a reply survived, by name",
    "exeunt_refused_taps_total": "Votes and reports that this server did not ask for: somebody calls internal models",
    "exeunt_plain_tickets_total": "Batches that asked for the full vote only",
    "exeunt_lean_tickets_total": "Batches that asked for the exits with the least work per answer",
    "exeunt_shadow_tickets_total": "Batches that asked for every exit so that inactive ones have data",
}
GAUGES = {
    "exeunt_tickets_in_flight": "Batches in flight",
    "exeunt_waiting_rows": "Rows waiting for a batch",
    "exeunt_threshold": "Threshold on 1 - confidence, by exit",
    "exeunt_exit_active": "1 where the exit is offered",
    "exeunt_promised_loss": "Promised share of answers that may differ from the full vote",
    "exeunt_class_allowed_losses": "Losses within the promise so far, by class: eps T + P, those saved up before or "
    "handed over, and luck where q < 1",
    "exeunt_max_unconfirmed_rows": "Most early rows that may await their full vote: the constant of the promise",
    "exeunt_feedback_probability": "Probability with which an answered row is finished for feedback",
    "exeunt_gear": "Numbers of the gears, by name: plain, stages and lean are 1 while in use",
    "exeunt_tuner": "The tuner's own numbers, by name",
    "exeunt_runner": "The runner's own numbers, by name",
    "exeunt_ramps": "Numbers of ramps that learn in service, by name: version of the heads, rows kept, CPU seconds",
    "exeunt_store": "Numbers of the store that replicas share, by name: reachable is 1 while it answers",
    "exeunt_records": "Rows recorded, dropped and failed, by name",
}


@dataclass(frozen=True, slots=True)
class MetricSample:
    """One value of one series; counters are cumulative."""

    family: str
    labels: tuple[tuple[str, str], ...]
    value: float


def samples(controller: Controller, numbers: Mapping[str, Mapping[str, float]]) -> list[MetricSample]:
    """Every series of a controller now; the caller holds its lock.

    Args:
        controller: read, not changed.
        numbers: family -> name -> value, from other parts of the process.
    """
    bag = ("bag", controller.manifest.bag)
    numbers = {**numbers, "exeunt_gear": controller.admission.metrics(), "exeunt_tuner": controller.tuner.metrics()}
    return [MetricSample(family, (bag, *labels), value) for family, labels, value in _families(controller, numbers)]


def _families(
    controller: Controller, numbers: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    counters = controller.counters
    for exit_, row in enumerate(counters.answers):
        for reason in Reason:
            labels = (("exit", str(exit_)), ("reason", reason.name.lower()))
            yield "exeunt_answers_total", labels, float(row[reason])
    yield from _latency(counters)
    coins = controller.decisions.coins
    for family, value in (
        ("exeunt_promised_rows_total", counters.promised_rows),
        ("exeunt_losses_total", counters.losses),
        ("exeunt_finished_rows_total", counters.finished_rows),
        ("exeunt_early_rows_total", counters.early_rows),
        ("exeunt_expected_losses_total", counters.expected_losses),
        ("exeunt_abandoned_rows_total", counters.abandoned_rows),
        ("exeunt_refused_total", counters.refused),
        ("exeunt_errors_total", counters.errors),
        ("exeunt_tickets_total", counters.tickets),
        ("exeunt_shadow_tickets_total", counters.shadow_tickets),
        ("exeunt_plain_tickets_total", counters.plain_tickets),
        ("exeunt_lean_tickets_total", counters.lean_tickets),
        ("exeunt_tickets_in_flight", len(controller.tickets)),
        ("exeunt_waiting_rows", controller.waiting_rows),
        ("exeunt_promised_loss", controller.tuner.class_losses[0]),
        ("exeunt_max_unconfirmed_rows", controller.settings.max_unconfirmed_rows),
        ("exeunt_feedback_probability", coins.probability(coins.finish_probability)),
    ):
        yield family, (), float(value)
    names = controller.settings.classes_of_service
    for name, of_class in zip(names, counters.by_class, strict=True):
        label = (("service_class", name),)
        promised = of_class.promised_losses + of_class.most_unconfirmed + of_class.received
        yield "exeunt_class_losses_total", label, of_class.losses
        yield "exeunt_class_promised_losses_total", label, of_class.promised_losses
        yield "exeunt_class_allowed_losses", label, promised + deviation(promised, of_class.lowest_q)
    pairs = zip(controller.tuner.thresholds(), controller.active(), strict=True)
    for exit_, (threshold, active) in enumerate(pairs):
        yield "exeunt_exit_active", (("exit", str(exit_)),), float(active)
        if np.isfinite(threshold):
            yield "exeunt_threshold", (("exit", str(exit_)),), float(threshold)
    for family, named in numbers.items():
        for name, value in named.items():
            yield family, (("name", name),), float(value)


def _latency(counters: Counters) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    bounds = [*map(str, LATENCY_BOUNDS_US), "+Inf"]
    for number, (counts, summed_us) in enumerate(zip(counters.requests, counters.latency_us, strict=True)):
        exit_ = ("exit", str(number))
        for bound, count in zip(bounds, np.cumsum(counts), strict=True):
            yield "exeunt_release_latency_us_bucket", (exit_, ("le", bound)), float(count)
        yield "exeunt_release_latency_us_sum", (exit_,), float(summed_us)
        yield "exeunt_release_latency_us_count", (exit_,), float(counts.sum())
