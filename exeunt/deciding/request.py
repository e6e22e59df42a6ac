"""What goes into the controller and what comes out: requests, options, answers, releases."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from exeunt import contract
from exeunt.errors import ExeuntError, RequestError
from exeunt.settings import Settings


@dataclass(frozen=True, slots=True)
class ParsedOptions:
    """What a caller asked for beside an answer.

    Attributes:
        never: wait for the full vote.
        deadline_us: time from arrival after which the best vote so far is released; None = none.
        hurries: work is chosen for the deadline's sake, since any vote may be the best by then; one that is a mere
            `timeout` does not matter before it has passed.
        max_risk: leave early only below this estimated risk.
        service_class: index in Settings.classes_of_service.
    """

    never: bool = False
    deadline_us: int | None = None
    max_risk: float = math.inf
    service_class: int = 0
    hurries: bool = False


@dataclass(slots=True)
class Request:
    """One client request.

    Attributes:
        key: the caller's name for it; comes back in the Release.
        rows: number of inputs, at least 1.
        options: what the client asked for.
        nan_rows: bool [rows], True where an input holds NaN; None where no row does.
        free_dims: sizes of the inputs' free dimensions; only requests that agree in them share a ticket.
        in_parts: rows are released as they are answered, not all at once.
        arrived_us: set by the controller.
        row_slice: its rows in its ticket, set by the controller.
    """

    key: Hashable
    rows: int
    options: ParsedOptions = ParsedOptions()
    nan_rows: np.ndarray | None = None
    free_dims: Hashable = None
    in_parts: bool = False
    arrived_us: int = 0
    row_slice: slice = field(init=False, repr=False, compare=False)

    @property
    def row_indices(self) -> np.ndarray:
        """Its rows in its ticket; int64 [rows]."""
        return np.arange(self.row_slice.start, self.row_slice.stop)

    @property
    def deadline_us(self) -> int | None:
        """Absolute deadline, or None."""
        return None if self.options.deadline_us is None else self.arrived_us + self.options.deadline_us


@dataclass(frozen=True, slots=True)
class AnswerArrays:
    """The public model's outputs for one request; dtypes of contract.ANSWER_DTYPES.

    Attributes:
        probabilities: float32 [rows, classes].
        label: int64 [rows].
        exit: int32 [rows].
        reason: int32 [rows].
        risk: float32 [rows].
    """

    probabilities: np.ndarray
    label: np.ndarray
    exit: np.ndarray
    reason: np.ndarray
    risk: np.ndarray


@dataclass(frozen=True, slots=True)
class Release:
    """An answer or error for one client request: exactly one of `answer` and `error` is set.

    Attributes:
        key: the request's.
        latency_us: since its arrival in the controller.
        answer: of `rows`.
        error: of all rows that are not answered.
        rows: int64, indices of the request's rows that are answered; None = all.
        last: the request is over. A request has exactly one last release, and others only if it is answered in parts.
    """

    key: Hashable
    latency_us: int
    answer: AnswerArrays | None = None
    error: ExeuntError | None = None
    rows: np.ndarray | None = None
    last: bool = True


def read_parameters(text: Callable[[], str]) -> dict[str, Any]:
    """A request's parameters.

    Args:
        text: gives them as JSON; "" where there are none. A stranger's bytes may make it raise UnicodeDecodeError.

    Raises:
        RequestError: they are no text of UTF-8.
    """
    try:
        return {} if (content := text()) in NO_PARAMETERS else dict(json.loads(content))
    except (ValueError, TypeError) as error:
        raise RequestError(f"parameters: expected texts of UTF-8 ({error})") from None


def parse_options(parameters: Mapping[str, Any], settings: Settings, timeout_us: int = 0) -> ParsedOptions:
    """Read a request's parameters.

    Args:
        parameters: as KServe v2 brings them; keys that are no contract.PARAMETER_... belong to others and are ignored.
        settings: for the known classes of service and the default deadline.
        timeout_us: KServe's own parameter `timeout`, after which the caller is gone; 0 = none.

    Raises:
        RequestError: a value that is not allowed, with what is.
    """
    if not (parameters or settings.deadline_ms or timeout_us):
        return _NO_OPTIONS
    exit_ = parameters.get(contract.PARAMETER_EXIT, "")
    if exit_ not in ("", "never"):
        raise RequestError(f'parameter exit: expected "never", got {exit_!r}')
    deadline_ms = _number(parameters, contract.PARAMETER_DEADLINE_MS, settings.deadline_ms, _DAY_US / 1000)
    max_risk = _number(parameters, contract.PARAMETER_MAX_RISK, math.inf, 1.0)
    name = parameters.get(contract.PARAMETER_SERVICE_CLASS, "")
    if name not in settings.classes_of_service:
        class_names = ", ".join(repr(name) for name in settings.service_classes) or "none is configured"
        raise RequestError(
            f"parameter service_class: expected one of the configured classes ({class_names}), got {name!r}"
        )
    waited_us = _number(parameters, contract.PARAMETER_WAITED_US, 0.0, _DAY_US)
    limits_us = [max(1, round(us - waited_us)) for us in (deadline_ms * 1000, timeout_us) if us > 0]
    return ParsedOptions(
        never=exit_ == "never",
        deadline_us=min(limits_us, default=None),
        max_risk=max_risk,
        service_class=settings.classes_of_service.index(name),
        hurries=deadline_ms > 0,
    )


NO_PARAMETERS = ("", "{}")  # what Triton hands over where there are none
_DAY_US = 86_400_000_000.0
_NO_OPTIONS = ParsedOptions()


def _number(parameters: Mapping[str, Any], key: str, absent: float, most: float) -> float:
    """A number above 0 and up to `most`; perf_analyzer and some clients send numbers as text."""
    if key not in parameters:
        return absent
    parameter = parameters[key]
    try:
        value = math.nan if isinstance(parameter, bool) else float(parameter)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value <= most:
        raise RequestError(f"parameter {key}: expected a number above 0 and up to {most:g}, got {parameter!r}")
    return value
