"""Where a server's time went: the difference of Triton's own statistics between two moments.

For a model they give queueing, copying in, running and copying out. For an ensemble they give the wall time of its
requests; its parts run side by side, so the sum of their times is larger (Triton: by design).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

from exeunt.errors import ServingError
from exeunt_client.protocol import Address, translate

_KINDS = ("success", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True, slots=True)
class ModelTimes:
    """Totals of one model over a stretch of time, microseconds summed over requests.

    Attributes:
        requests: answered.
        executions: runs; fewer than requests where the batcher merged some.
        wall_us: from a request's arrival at the model to its answer.
        queue_us: waiting for an instance.
        copy_us: inputs in and outputs out.
        infer_us: in the backend; of a Python backend this includes the way to its process and back.
    """

    requests: int
    executions: int
    wall_us: float
    queue_us: float
    copy_us: float
    infer_us: float

    def __sub__(self, earlier: ModelTimes) -> ModelTimes:
        """What was added since `earlier`."""
        return ModelTimes(*(getattr(self, name) - getattr(earlier, name) for name in self.__dataclass_fields__))


NOTHING = ModelTimes(0, 0, 0.0, 0.0, 0.0, 0.0)


def read_times(url: str) -> dict[str, ModelTimes]:
    """Totals by model since the server's start.

    Raises:
        ServingError: no server answers at `url`.
    """
    address = Address.parse(url)
    try:
        if address.protocol == "grpc":
            with grpc.InferenceServerClient(address.host, ssl=address.tls) as connection:
                return parse_times(connection.get_inference_statistics(as_json=True))
        with http.InferenceServerClient(address.host, ssl=address.tls) as connection:
            return parse_times(connection.get_inference_statistics())
    except InferenceServerException as error:
        raise translate(error, f"statistics of {url}") from error
    except OSError as error:
        raise ServingError(f"{url}: no server answers: {error}") from error


def parse_times(payload: Mapping[str, Any]) -> dict[str, ModelTimes]:
    """Read a server's inference statistics, JSON of either protocol; versions of a model are added up."""
    by_model: dict[str, ModelTimes] = {}
    for entry in payload.get("model_stats", []):
        stats = entry.get("inference_stats", {})
        us = {kind: int(stats.get(kind, {}).get("ns", 0)) / 1e3 for kind in _KINDS}
        times = ModelTimes(
            requests=int(stats.get("success", {}).get("count", 0)),
            executions=int(entry.get("execution_count", 0)),
            wall_us=us["success"],
            queue_us=us["queue"],
            copy_us=us["compute_input"] + us["compute_output"],
            infer_us=us["compute_infer"],
        )
        before = by_model.get(entry["name"], NOTHING)
        by_model[entry["name"]] = times - (NOTHING - before)
    return by_model


def spent(before: Mapping[str, ModelTimes], after: Mapping[str, ModelTimes]) -> dict[str, ModelTimes]:
    """What each model did between two readings; models that did nothing are left out."""
    added = {name: times - before.get(name, NOTHING) for name, times in after.items()}
    return {name: times for name, times in added.items() if times.requests}
