"""A caller's options: what a request may ask of the exits, beyond its inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from exeunt_client.contract import PARAMETER_DEADLINE_MS, PARAMETER_EXIT, PARAMETER_MAX_RISK, PARAMETER_SERVICE_CLASS
from exeunt_client.errors import RequestError


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """Request parameters of the public model; None leaves a thing to the server.

    >>> RequestOptions(deadline_ms=20).parameters()
    {'deadline_ms': 20.0}

    Attributes:
        exit: "never" waits for the full vote.
        deadline_ms: answer with the best vote so far after this many milliseconds in the server; above 0.
        max_risk: leave early only below this estimated probability of a loss; above 0, up to 1.
        service_class: name of a class of service that the bag's settings know.

    Raises:
        RequestError: a value outside what is allowed, on construction.
    """

    exit: Literal["never"] | None = None
    deadline_ms: float | None = None
    max_risk: float | None = None
    service_class: str | None = None

    def __post_init__(self) -> None:
        if self.exit not in (None, "never"):
            raise RequestError(f"{PARAMETER_EXIT} = {self.exit!r}; allowed: 'never'")
        if self.deadline_ms is not None and not (self.deadline_ms > 0 and math.isfinite(self.deadline_ms)):
            raise RequestError(f"{PARAMETER_DEADLINE_MS} = {self.deadline_ms!r}; allowed: a number above 0")
        if self.max_risk is not None and not 0 < self.max_risk <= 1:
            raise RequestError(f"{PARAMETER_MAX_RISK} = {self.max_risk!r}; allowed: a number above 0 and up to 1")

    def parameters(self) -> dict[str, str | float]:
        """The options as KServe v2 request parameters, without those not made."""
        parameters: dict[str, str | float | None] = {
            PARAMETER_EXIT: self.exit,
            PARAMETER_DEADLINE_MS: None if self.deadline_ms is None else float(self.deadline_ms),
            PARAMETER_MAX_RISK: None if self.max_risk is None else float(self.max_risk),
            PARAMETER_SERVICE_CLASS: self.service_class,
        }
        return {name: value for name, value in parameters.items() if value is not None}


NO_OPTIONS = RequestOptions()
