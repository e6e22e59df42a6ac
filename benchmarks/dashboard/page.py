"""A Grafana dashboard as one HTML page, from a Prometheus that runs, and as a picture by Chromium.

Every panel's queries are asked as Grafana would ask them; panels.py draws the answers.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.dashboard.panels import Series, draw

COLUMN, ROW, GAP, TITLE = 60, 36, 6, 22  # pixels of Grafana's grid of 24 columns, and of a panel's title
WIDTH = 24 * COLUMN + GAP
POINTS = 120  # of a line
STYLE = f"""
body {{ margin: 0; width: {WIDTH}px; background: #f4f5f5; font: 12px sans-serif; position: relative }}
section, h2 {{ position: absolute; box-sizing: border-box; overflow: hidden; margin: 0 }}
section {{ background: #fff; border: 1px solid #ddd }}
h2 {{ font-size: 15px; padding: 10px 8px 0 }}
h3 {{ font-size: 12px; margin: 4px 8px 0; height: {TITLE - 4}px }}
svg {{ display: block }}
"""


def filled(expression: str, variables: Mapping[str, str]) -> str:
    """A query with the dashboard's variables, `$name` or `${name}`, in their places."""
    return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda match: variables[match[1] or match[2]], expression)


def page(dashboard: Mapping[str, Any], url: str, variables: Mapping[str, str], span: tuple[float, float]) -> str:
    """HTML with nothing from elsewhere.

    Args:
        dashboard: Grafana's JSON.
        url: of Prometheus, without a slash at its end.
        variables: of the dashboard, by name.
        span: (start, end), unix time in seconds.
    """
    parts = [_panel(panel, url, variables, span) for panel in dashboard["panels"]]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    head = f'<meta charset="utf-8"><title>{escape(dashboard["title"])}</title><style>{STYLE}</style>'
    body = f'<body style="height:{rows * ROW + GAP}px">{"".join(parts)}</body>'
    return f'<!doctype html><html lang="en">{head}{body}</html>'


def picture(html: str, output: Path) -> None:
    """Write a page as PNG. Needs Chromium."""
    height = re.search(r'<body style="height:(\d+)px', html)
    assert height
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.html").write_text(html, encoding="utf-8")
        line = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        line += [f"--user-data-dir={folder}", f"--window-size={WIDTH},{height[1]}", f"--screenshot={output.resolve()}"]
        subprocess.run([*line, f"file://{folder}/page.html"], check=True, capture_output=True, timeout=120)


def _panel(panel: Mapping[str, Any], url: str, variables: Mapping[str, str], span: tuple[float, float]) -> str:
    place = panel["gridPos"]
    wide, high = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
    left_px, top_px = place["x"] * COLUMN + GAP, place["y"] * ROW + GAP
    style = f'style="left:{left_px}px;top:{top_px}px;width:{wide}px;height:{high}px"'
    title = escape(panel["title"])
    if panel["type"] == "row":
        return f"<h2 {style}>{title}</h2>"
    series = [one for target in panel["targets"] for one in _series(target, url, variables, span)]
    inside = draw(panel, series, (wide - 2, high - TITLE - 4), span)
    return f'<section {style} title="{escape(panel["description"])}"><h3>{title}</h3>{inside}</section>'


def _series(
    target: Mapping[str, Any], url: str, variables: Mapping[str, str], span: tuple[float, float]
) -> list[Series]:
    """What a query of a panel shows: its series that have a number, named by its legend."""
    series = []
    for item in _ask(url, filled(target["expr"], variables), span):
        labels: dict[str, str] = item["metric"]
        name = re.sub(
            r"\{\{ *(\w+) *\}\}", lambda match, labels=labels: labels.get(match[1], ""), target["legendFormat"]
        )
        points = [(time_s, float(value)) for time_s, value in item["values"] if math.isfinite(float(value))]
        if points:
            series.append(Series(name, points, labels))
    return series


def _ask(url: str, expression: str, span: tuple[float, float]) -> list[dict[str, Any]]:
    """Series of a range query; HTTPError where Prometheus refuses it."""
    step_s = max(1.0, (span[1] - span[0]) / POINTS)
    words = urllib.parse.urlencode({"query": expression, "start": span[0], "end": span[1], "step": step_s})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{words}", timeout=30) as answer:
        return json.load(answer)["data"]["result"]
