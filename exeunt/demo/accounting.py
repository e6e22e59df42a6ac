"""Where the server's time went, from Triton's statistics and the manifest's profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exeunt.contract import exit_model, full_model, vote_model
from exeunt.manifest import Manifest
from exeunt.measuring.server_times import NOTHING, ModelTimes

SEGMENTS = "segments"


@dataclass(frozen=True, slots=True)
class Line:
    """What a group of models did for one request of a public model, milliseconds summed over the group.

    Attributes:
        public: the model whose requests are the unit.
        group: what the models are.
        runs: model runs per request.
        infer_ms: in the backends, the way to a stand-in's process and back included.
        profile_ms: what the same runs took alone in one process at export; None where export measured none.
        queue_ms: waiting for an instance.
        copy_ms: inputs in and outputs out.
    """

    public: str
    group: str
    runs: float
    infer_ms: float
    profile_ms: float | None
    queue_ms: float
    copy_ms: float


def account(manifest: Manifest, times: Mapping[str, ModelTimes]) -> list[Line]:
    """Account for the work behind NAME and NAME_full.

    Members run side by side, so the sums exceed what a request waited for; and NAME's segments run on after its answer.

    Args:
        manifest: of the bag.
        times: what each model did on requests of one row, from `exeunt.measuring.server_times.spent`.
    """
    bag = manifest.bag
    segments = {s.model: _one_row_us(s.cost_us) for member in manifest.members for s in member.segments}
    heads = {exit_.heads: _one_row_us(exit_.head_us) for exit_ in manifest.exits if exit_.heads}
    members = {
        member.model: sum(_one_row_us(s.cost_us) for s in member.segments)
        for member in manifest.members
        if member.model is not None
    }
    lines = [
        _line(full_model(bag), "members", members, members, times),
        _line(full_model(bag), "vote", [vote_model(bag)], {}, times),
        _line(bag, SEGMENTS, segments, segments, times),
        _line(bag, "heads", heads, heads, times),
        _line(bag, "controller, taps", [exit_model(bag)], {}, times),
    ]
    return [line for line in lines if line.runs > 0]


def wall_ms(times: Mapping[str, ModelTimes], model: str) -> float | None:
    """Mean wall time of a model's requests inside the server, milliseconds; None without requests."""
    model_times = times.get(model, NOTHING)
    return model_times.wall_us / model_times.requests / 1e3 if model_times.requests else None


def _line(
    public: str, group: str, models: Iterable[str], profile_us: Mapping[str, float], times: Mapping[str, ModelTimes]
) -> Line:
    requests = max(1, times.get(public, NOTHING).requests)
    by_model = {model: times[model] for model in models if model in times}
    per_request_ms = 1e-3 / requests
    return Line(
        public=public,
        group=group,
        runs=sum(model_times.executions for model_times in by_model.values()) / requests,
        infer_ms=sum(model_times.infer_us for model_times in by_model.values()) * per_request_ms,
        profile_ms=sum(profile_us[model] * model_times.executions for model, model_times in by_model.items())
        * per_request_ms
        if profile_us
        else None,
        queue_ms=sum(model_times.queue_us for model_times in by_model.values()) * per_request_ms,
        copy_ms=sum(model_times.copy_us for model_times in by_model.values()) * per_request_ms,
    )


def _one_row_us(by_batch: Mapping[int, float]) -> float:
    """The time at the smallest profiled batch size; 0 where nothing was profiled."""
    return by_batch[min(by_batch)] if by_batch else 0.0
