"""A member's graph as a strip: its segments in proportion to what they cost, its cuts, and what their ramps can do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from exeunt_export.report.export_report import CutReport

_WIDTH, _LEFT, _RIGHT = 1000.0, 10.0, 90.0
_TOP, _HEIGHT = 8.0, 34.0
_LEAST_LABEL = 34.0  # a segment narrower than this has its share in its tooltip only


def strip(costs_us: Sequence[float], cuts: Sequence[CutReport], agreement: float, scale_us: float) -> str:
    """An inline SVG.

    Args:
        costs_us: of each segment.
        cuts: one fewer, in order.
        agreement: of the finished member with the full vote.
        scale_us: time that the whole width stands for.
    """
    whole_us = sum(costs_us)
    unit = (_WIDTH - _LEFT - _RIGHT) / scale_us
    ends = [_LEFT + us * unit for us in accumulate(costs_us)]
    starts = [_LEFT, *ends[:-1]]
    drawn = []
    for number, (start, end, us) in enumerate(zip(starts, ends, costs_us, strict=True), start=1):
        share = f"{us / whole_us:.0%}"
        drawn.append(
            f'<rect class="segment" x="{start:.1f}" y="{_TOP}" width="{end - start:.1f}" height="{_HEIGHT}">'
            f"<title>segment {number}: {us:.0f} us, {share}</title></rect>"
        )
        if end - start >= _LEAST_LABEL:
            drawn.append(_text((start + end) / 2, _TOP + 22, share, "middle"))
    for cut, place in zip(cuts, ends, strict=False):
        drawn.append(_cut(cut, place))
    drawn.append(_text(ends[-1] + 6, _TOP + 15, f"{agreement:.1%}", "start"))
    drawn.append(_text(ends[-1] + 6, _TOP + 29, "finished", "start", "soft"))
    label = f"{len(costs_us)} segments of {whole_us:.0f} us"
    height = _TOP + _HEIGHT + (46 if cuts else 8)
    return f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def _cut(cut: CutReport, place: float) -> str:
    bottom = _TOP + _HEIGHT
    exits = "exit " + ", ".join(map(str, cut.exits)) if cut.exits else "no exit"
    title = f"<title>cut {cut.depth}: {cut.width} tensor(s), {cut.features} features, {exits}</title>"
    return (
        f'<g>{title}<line class="cut" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP - 4}" y2="{bottom + 8}"/>'
        f'<circle class="ramp" cx="{place:.1f}" cy="{bottom + 8}" r="3.5"/>'
        f"{_text(place, bottom + 25, f'{cut.agreement:.1%}', 'middle')}"
        f"{_text(place, bottom + 39, exits, 'middle', 'soft')}</g>"
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
