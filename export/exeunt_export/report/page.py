"""report.html: the export's report as one page that needs nothing from elsewhere, readable in light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from exeunt_export.report.export_report import ExportReport
from exeunt_export.report.segment_strip import strip_of
from exeunt_export.writing.readme import PAGE_FILE

TEMPLATE = "page.html.jinja"  # beside this file


def save_page(report: ExportReport, folder: Path) -> None:
    """Write report.html into the repository's folder, beside its README."""
    (folder / PAGE_FILE).write_text(page(report), encoding="utf-8")


def page(report: ExportReport) -> str:
    """The whole page."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names come from model files
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"percent": _percent, "ms": _ms, "px": "{:.1f}".format}
    manifest = report.manifest
    return templates.get_template(TEMPLATE).render(
        report=report,
        manifest=manifest,
        full_us=manifest.exits[-1].elapsed_us[1],
        members=_members(report),
        reached=[
            [f"{m.name} {depth}/{m.depth}" for m, depth in zip(manifest.members, exit_.depths, strict=True) if depth]
            for exit_ in manifest.exits
        ],
    )


def _members(report: ExportReport) -> list[dict[str, Any]]:
    """What the page says of every member."""
    manifest = report.manifest
    slowest_us = max(member.total_us for member in manifest.members)
    members = []
    for member, weight in zip(manifest.members, manifest.weights, strict=True):
        cuts = [cut for cut in report.cuts if cut.member == member.name]
        members.append(
            {
                "name": member.name,
                "weight": weight,
                "agreement": report.member_agreement[member.name],
                "without": [one for one in report.members.without if one.member == member.name],
                "quantised": [quantised for quantised in report.quantised if quantised.member == member.name],
                "cuts": cuts,
                "strip": strip_of([segment.cost_us[1] for segment in member.segments], cuts, slowest_us),
            }
        )
    return members


def _percent(share: float, digits: int = 1) -> str:
    return f"{share:.{digits}%}"


def _ms(us: float) -> str:
    return f"{us / 1e3:.2f} ms" if us < 1e5 else f"{us / 1e3:.0f} ms"
