"""Panels of a Grafana dashboard as SVG: what the JSON says, drawn without Grafana.

Knows the four kinds of panels that deploy/grafana/dashboards/exeunt.json has, and of their options those that change
what is seen: unit, decimals, least and most, stacking, steps, mappings and thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

COLOURS = ["#7eb26d", "#eab839", "#5195ce", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#967302"]
NAMED = {"green": "#56a64b", "red": "#e02f44", "blue": "#3274d9", "dark-red": "#c4162a"}
LEFT, BOTTOM, LINE = 68, 16, 15  # room for the axes, height of a line of the legend
MOST_LEGEND_LINES = 4
NO_DATA = "No data"


@dataclass(frozen=True)
class Series:
    """One line of a panel.

    Attributes:
        name: as the legend has it.
        points: (unix time in seconds, value), in order; values are finite.
        labels: of the series.
    """

    name: str
    points: list[tuple[float, float]]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Frame:
    """Where a panel's marks go: pixels of its box, and what the axes span."""

    width: float
    height: float
    start_s: float
    end_s: float
    least: float
    most: float

    def x(self, time_s: float) -> float:
        """Pixels from the left."""
        return LEFT + (time_s - self.start_s) / (self.end_s - self.start_s) * (self.width - LEFT - 6)

    def y(self, value: float) -> float:
        """Pixels from the top; what is beyond the axis lies on its end."""
        share = (min(max(value, self.least), self.most) - self.least) / (self.most - self.least)
        return 6 + (1 - share) * (self.height - BOTTOM - 6)


def number(value: float, unit: str, decimals: int | None = None) -> str:
    """A value as Grafana writes it in a unit of the dashboard. ValueError for a unit that is none of them."""
    if unit == "percentunit":
        return f"{100 * value:.{decimals if decimals is not None else 1}f} %"
    if unit == "µs":
        size, suffix = next((item for item in ((1e6, "s"), (1e3, "ms")) if abs(value) >= item[0]), (1.0, "µs"))
        return f"{value / size:.3g} {suffix}"
    if unit == "reqps":
        return f"{value:.3g} req/s"
    if unit in ("short", "none"):
        size, suffix = next((item for item in ((1e6, " M"), (1e3, " K")) if abs(value) >= item[0]), (1.0, ""))
        return f"{value / size:.3g}{suffix}"
    raise ValueError(f"unit {unit!r}")


def draw(
    panel: Mapping[str, Any], series: Sequence[Series], box: tuple[float, float], span: tuple[float, float]
) -> str:
    """SVG of a panel's inside.

    Args:
        panel: of the dashboard's JSON.
        series: of all its queries.
        box: (width, height) in pixels.
        span: (start, end), unix time in seconds.

    Raises:
        KeyError: no such kind of panel.
    """
    width, height = box
    kinds: dict[str, Callable[[], str]] = {
        "stat": lambda: _stat(panel, series, box),
        "timeseries": lambda: _lines(panel, series, box, span),
        "state-timeline": lambda: _states(panel, series, box, span),
        "heatmap": lambda: _heat(panel, series, box, span),
    }
    draw_panel = kinds[panel["type"]]
    inside = draw_panel() if series else _text(width / 2, height / 2, NO_DATA, "middle", 14)
    return f'<svg width="{width:.0f}" height="{height:.0f}">{inside}</svg>'


def _text(x: float, y: float, words: str, anchor: str = "start", size: int = 11, colour: str = "#444") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {place}>{escape(words)}</text>"


def _stat(panel: Mapping[str, Any], series: Sequence[Series], box: tuple[float, float]) -> str:
    """The last value of the only series, on the colour of its threshold."""
    defaults, value = panel["fieldConfig"]["defaults"], series[0].points[-1][1]
    texts = {key: item["text"] for mapping in defaults["mappings"] for key, item in mapping["options"].items()}
    steps = [step for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
    words = texts.get(f"{value:g}") or number(value, defaults["unit"], defaults.get("decimals"))
    back = f'<rect class="mark" width="100%" height="100%" fill="{NAMED[steps[-1]["color"]]}"/>'
    return back + _text(box[0] / 2, box[1] / 2 + 12, words, "middle", 34, "#fff")


def _lines(
    panel: Mapping[str, Any], series: Sequence[Series], box: tuple[float, float], span: tuple[float, float]
) -> str:
    """Lines, or areas on top of each other, with axes and legend."""
    defaults, custom = panel["fieldConfig"]["defaults"], panel["fieldConfig"]["defaults"]["custom"]
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    lines = _stack(series) if stacked else [list(one.points) for one in series]
    values = [value for line in lines for _, value in line]
    least, most = defaults.get("min", min(values)), defaults.get("max", max(values))
    legend, rows = _legend([one.name for one in series], box)
    most = most if most > least else least + 1.0
    frame = Frame(box[0], box[1] - rows * LINE, *span, least, most)
    marks, floor = [], [(time_s, least) for time_s, _ in lines[0]]
    for place, line in enumerate(lines):
        colour, path = COLOURS[place % len(COLOURS)], _path(frame, line, custom.get("lineInterpolation") == "stepAfter")
        if stacked:
            back = " ".join(f"L{frame.x(time_s):.1f},{frame.y(value):.1f}" for time_s, value in reversed(floor))
            marks.append(f'<path class="mark" d="{path} {back} Z" fill="{colour}" fill-opacity="0.6"/>')
            floor = line
        else:
            marks.append(f'<path class="mark" d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return _axes(frame, defaults["unit"]) + "".join(marks) + legend


def _stack(series: Sequence[Series]) -> list[list[tuple[float, float]]]:
    """Each series on top of those before it, at all times that any of them has."""
    times = sorted({time_s for one in series for time_s, _ in one.points})
    height, stacked = dict.fromkeys(times, 0.0), []
    for one in series:
        for time_s, value in one.points:
            height[time_s] += value
        stacked.append(list(height.items()))
    return stacked


def _path(frame: Frame, line: Sequence[tuple[float, float]], steps: bool) -> str:
    places = [(frame.x(time_s), frame.y(value)) for time_s, value in line]
    words = [f"M{places[0][0]:.1f},{places[0][1]:.1f}"]
    for x, y in places[1:]:
        words.append(f"H{x:.1f} V{y:.1f}" if steps else f"L{x:.1f},{y:.1f}")
    return " ".join(words) if len(places) > 1 else f"{words[0]} h2"


def _axes(frame: Frame, unit: str) -> str:
    """Four lines with their values."""
    drawn = []
    for part in range(5):
        value = frame.least + part / 4 * (frame.most - frame.least)
        y = frame.y(value)
        drawn.append(f'<path d="M{LEFT},{y:.1f} H{frame.width - 6:.1f}" stroke="#e4e4e4"/>')
        drawn.append(_text(LEFT - 5, y + 4, number(value, unit), "end"))
    return "".join(drawn) + _times(frame)


def _times(frame: Frame) -> str:
    seconds = frame.end_s - frame.start_s
    words = f"{seconds / 60:.0f} min ago" if seconds >= 120 else f"{seconds:.0f} s ago"
    y = frame.height - 3
    return _text(LEFT, y, words) + _text(frame.width - 6, y, "now", "end")


def _legend(names: Sequence[str], box: tuple[float, float]) -> tuple[str, int]:
    """Names below the axes, and how many lines they take; what has no room is counted."""
    entries, x, row = [], 8.0, 1
    for place, name in enumerate(names):
        entry_width = 26 + 6.2 * len(name)
        if x + entry_width > box[0] and x > 8.0:
            x, row = 8.0, row + 1
        if row > MOST_LEGEND_LINES:
            entries.append((8.0, row, "", f"and {len(names) - place} more"))
            break
        entries.append((x, row, COLOURS[place % len(COLOURS)], name))
        x += entry_width
    top = box[1] - row * LINE
    words = "".join(
        (f'<rect x="{x:.1f}" y="{top + LINE * line - 8:.1f}" width="12" height="4" fill="{colour}"/>' if colour else "")
        + _text(x + 16, top + LINE * line - 3, name)
        for x, line, colour, name in entries
    )
    return words, row


def _states(
    panel: Mapping[str, Any], series: Sequence[Series], box: tuple[float, float], span: tuple[float, float]
) -> str:
    """A row for each series, coloured by what its value is mapped to."""
    mappings = panel["fieldConfig"]["defaults"]["mappings"]
    colours = {key: NAMED[item["color"]] for mapping in mappings for key, item in mapping["options"].items()}
    frame, rows = Frame(*box, *span, 0.0, 1.0), []
    high = (box[1] - BOTTOM - 6) / len(series)
    for place, one in enumerate(series):
        top = 6 + place * high
        rows.append(_text(LEFT - 5, top + high / 2 + 4, one.name, "end"))
        ends = [time_s for time_s, _ in one.points[1:]] + [span[1]]
        rows += [
            f'<rect class="mark" x="{frame.x(start_s):.1f}" y="{top + 2:.1f}" height="{high - 4:.1f}" '
            f'width="{frame.x(end_s) - frame.x(start_s):.1f}" fill="{colours[f"{value:g}"]}"/>'
            for (start_s, value), end_s in zip(one.points, ends, strict=True)
        ]
    return "".join(rows) + _times(frame)


def _heat(
    panel: Mapping[str, Any], series: Sequence[Series], box: tuple[float, float], span: tuple[float, float]
) -> str:
    """Cells of time and bucket, darker where more fell in; buckets count what is below them, too."""
    buckets = sorted(series, key=lambda one: float(one.labels["le"]))
    counts: list[dict[float, float]] = []
    below: dict[float, float] = {}
    for one in buckets:
        now = dict(one.points)
        counts.append({time_s: max(0.0, value - below.get(time_s, 0.0)) for time_s, value in now.items()})
        below = now
    filled_places = [place for place, count in enumerate(counts) if any(count.values())]
    drawn_places = range(filled_places[0], filled_places[-1] + 1) if filled_places else range(len(buckets))
    most = max((value for count in counts for value in count.values()), default=0.0) or 1.0
    frame, cells = Frame(*box, *span, 0.0, 1.0), []
    high = (box[1] - BOTTOM - 6) / len(drawn_places)
    wide = (frame.x(span[1]) - LEFT) / max(1, len({time_s for count in counts for time_s in count}))
    for row, place in enumerate(reversed(drawn_places)):
        limit = float(buckets[place].labels["le"])
        words = number(limit, panel["options"]["yAxis"]["unit"]) if math.isfinite(limit) else "more"
        cells.append(_text(LEFT - 5, 6 + row * high + 8, words, "end"))
        cells += [
            f'<rect class="mark" x="{max(LEFT, frame.x(time_s) - wide):.1f}" y="{6 + row * high:.1f}" '
            f'width="{wide:.1f}" height="{high - 1:.1f}" fill="#1f60c4" fill-opacity="{value / most:.2f}"/>'
            for time_s, value in counts[place].items()
            if value
        ]
    return "".join(cells) + _times(frame)
