"""What the gateway sets among a request's parameters: class of service, the caller's deadline, the time waited here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exeunt.contract import INTERNAL_PARAMETERS, PARAMETER_SERVICE_CLASS, PARAMETER_WAITED_US
from exeunt.deciding.request import ParsedOptions

TIMEOUT = "timeout"  # KServe's: microseconds after which the caller is gone
OURS = (PARAMETER_SERVICE_CLASS, TIMEOUT, *INTERNAL_PARAMETERS)  # what may be changed on the way


@dataclass(frozen=True, slots=True)
class ClassRule:
    """Who says to which class of service a request belongs.

    Attributes:
        fixed: every request is of this class; None = see `header`.
        header: the class is this header's (metadata's) value, of callers without it the default one; None = callers
            say it in the parameter `service_class`.
    """

    fixed: str | None = None
    header: str | None = None

    def of(self, headers: Mapping[str, str]) -> str | None:
        """The class of a caller, by headers with names in lower case; None = as the parameter says."""
        if self.fixed is not None:
            return self.fixed
        return None if self.header is None else headers.get(self.header.lower(), "")


def passed_on(
    parameters: Mapping[str, Any], service_class: str | None, remaining_s: float | None
) -> tuple[dict[str, Any], int]:
    """A request's parameters as the server gets them, and its `timeout` in microseconds, 0 = none.

    Args:
        parameters: as the caller sent them.
        service_class: see `ClassRule.of`.
        remaining_s: until the caller's gRPC deadline; None = it has none. It becomes a `timeout`, so that the server
            does not begin what nobody waits for any more.
    """
    table = {key: value for key, value in parameters.items() if key not in INTERNAL_PARAMETERS}
    if service_class is not None:
        table.pop(PARAMETER_SERVICE_CLASS, None)
        if service_class:
            table[PARAMETER_SERVICE_CLASS] = service_class
    timeout = table.get(TIMEOUT)
    timeout_us = timeout if isinstance(timeout, int) and not isinstance(timeout, bool) and timeout > 0 else 0
    if remaining_s is not None:
        left_us = max(1, int(remaining_s * 1e6))
        table[TIMEOUT] = timeout_us = min(left_us, timeout_us or left_us)
    return table, timeout_us


def after_waiting(table: dict[str, Any], options: ParsedOptions, waited_us: int) -> dict[str, Any]:
    """The parameters with the time waited here, which counts against the caller's deadline."""
    return table if options.deadline_us is None else table | {PARAMETER_WAITED_US: max(1, waited_us)}
