"""A member's graph as a strip: its segments in proportion to what they cost, its cuts, and what their ramps can do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from exeunt_export.report.export_report import CutReport

_WIDTH, _LEFT, _RIGHT = 1000, 10, 90
_TOP, _BAR = 8, 34
_LEAST_LABEL = 34  # a segment narrower than this has its share in its tooltip only


def strip_of(costs_us: Sequence[float], cuts: Sequence[CutReport], scale_us: float) -> dict[str, Any]:
    """Where everything lies, in pixels of an inline SVG; the page's template draws it.

    Args:
        costs_us: of each segment.
        cuts: one fewer, in order.
        scale_us: time that the whole width stands for.
    """
    whole_us = sum(costs_us)
    unit = (_WIDTH - _LEFT - _RIGHT) / scale_us
    places = [_LEFT + us * unit for us in accumulate(costs_us, initial=0.0)]
    return {
        "width": _WIDTH,
        "height": _TOP + _BAR + (46 if cuts else 8),
        "top": _TOP,
        "bar": _BAR,
        "bottom": _TOP + _BAR,
        "least_label": _LEAST_LABEL,
        "whole_us": whole_us,
        "end": places[-1],
        "segments": [
            {"start": start, "end": end, "us": us, "share": us / whole_us}
            for (start, end), us in zip(pairwise(places), costs_us, strict=True)
        ],
        "cuts": list(zip(cuts, places[1:], strict=False)),
    }
