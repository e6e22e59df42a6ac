"""report.html: the export's report as one page that needs nothing from elsewhere, readable in light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from exeunt_export.report.expectation import Expected
from exeunt_export.report.export_report import CutReport, ExportReport
from exeunt_export.report.strip import strip
from exeunt_export.writing.readme import PAGE_FILE

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2126; --soft: #5d6770; --line: #d9dee3; --card: #f5f7f9;
  --segment: #cfe0f2; --segment-edge: #7d9fc4; --ramp: #b4540a; --warn: #fff3d6; --warn-edge: #d9a300;
  --s0: #2f6fb0; --s1: #5b9bd0; --s2: #93bfe2; --full: #b9c0c7; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181c; --ink: #e6eaee; --soft: #9aa5af; --line: #323a42;
  --card: #1d2328; --segment: #28435f; --segment-edge: #5f8fc0; --ramp: #f0a055; --warn: #3a2f10; --warn-edge: #b08a20;
  --s0: #5b9bd8; --s1: #3f76ab; --s2: #2d557c; --full: #4a545d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p, .soft { color: var(--soft); margin: .2rem 0 .6rem; }
code { font: 13px ui-monospace, monospace; word-break: break-all; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .7rem; margin: 1rem 0; }
.tile { background: var(--card); border-radius: .5rem; padding: .6rem .9rem; }
.tile b { display: block; font-size: 1.35rem; } .tile span { color: var(--soft); font-size: .87rem; }
.warning { background: var(--warn); border-left: .3rem solid var(--warn-edge); padding: .4rem .8rem; margin: .4rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } .left { text-align: left; white-space: normal; }
.bar { display: flex; height: .9rem; min-width: 12rem; border-radius: .2rem; overflow: hidden;
  background: var(--full); }
.bar i { display: block; border-right: 1px solid var(--paper); }
svg { display: block; width: 100%; min-width: 40rem; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg .soft { fill: var(--soft); }
svg .segment { fill: var(--segment); stroke: var(--segment-edge); }
svg .cut { stroke: var(--ramp); stroke-width: 2; } svg .ramp { fill: var(--ramp); }
"""


def save_page(report: ExportReport, folder: Path) -> None:
    """Write report.html into the repository's folder, beside its README."""
    (folder / PAGE_FILE).write_text(page(report), encoding="utf-8")


def page(report: ExportReport) -> str:
    """The whole page."""
    manifest = report.manifest
    title = f"{escape(manifest.bag)}: export report"
    body = [
        f"<h1>{title}</h1>",
        f"<p>{len(manifest.members)} member(s), {manifest.classes} classes, mode {manifest.mode}, schedule "
        f"{manifest.schedule}, {len(manifest.exits)} exits; written by {escape(manifest.exported_by)}.</p>",
        _tiles(report),
        *(f'<div class="warning">{escape(warning)}</div>' for warning in report.warnings),
        "<h2>Members</h2>",
        f"<p>One row at a time, one thread of the exporting machine; every strip is drawn to the scale of the slowest "
        f"member. Below each cut: the exits at which its ramp votes, and how often the ramp alone says what the full "
        f"ensemble says, on {report.parts['report']} rows that nothing was trained on.</p>",
        *_members(report),
        "<h2>Exits</h2>",
        _exits(report),
        "<h2>What to expect</h2>",
        _expected(report),
        "<h2>How it was made</h2>",
        _made(report),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def _tiles(report: ExportReport) -> str:
    full_us = report.manifest.exits[-1].elapsed_us[1]
    tiles = [
        (_ms(full_us), "the full ensemble's answer to one row"),
        *(
            (f"{point.latency_us / full_us:.0%}", f"of that time, expected at {point.max_loss:.1%} loss")
            for point in report.expected
        ),
        (f"{report.ramp_share:.1%}", f"is what the ramps add to the work; the budget is {report.ramp_budget:.0%}"),
    ]
    cells = "".join(f'<div class="tile"><b>{big}</b><span>{small}</span></div>' for big, small in tiles)
    return f'<div class="tiles">{cells}</div>'


def _members(report: ExportReport) -> Iterable[str]:
    manifest = report.manifest
    slowest_us = max(sum(segment.cost_us[1] for segment in member.segments) for member in manifest.members)
    without = {one.member: one for one in report.members.without}
    for member, weight in zip(manifest.members, manifest.weights, strict=True):
        cuts = [cut for cut in report.cuts if cut.member == member.name]
        costs_us = [segment.cost_us[1] for segment in member.segments]
        agreement = report.member_agreement[member.name]
        yield (
            f"<h3>{escape(member.name)}</h3><p>{_ms(sum(costs_us))}, weight {weight:.2f} of 1; finished, it agrees "
            f"with the full ensemble on {agreement:.1%} of the rows</p>"
        )
        if (one := without.get(member.name)) is not None:
            yield (
                f"<p>Without it: {one.work_saved:.0%} less work, the same vote on {one.same_vote:.1%} of the rows, "
                f"{one.same_vote_reweighted:.1%} with other weights.</p>"
            )
        for quantised in report.quantised:
            if quantised.member == member.name:
                same = f"on {quantised.same_vote:.1%} of the rows the bag votes as it did before quantising"
                yield f"<p>{escape(str(quantised))}; {same}</p>"
        yield f'<div class="wide">{strip(costs_us, cuts, agreement, slowest_us)}</div>'
        if cuts:
            yield _cuts(cuts)


def _cuts(cuts: Sequence[CutReport]) -> str:
    head = (
        ("cut", "left"), ("after", "left"), ("width", ""), ("bytes a row", ""), ("time before", ""), ("grid", ""),
        ("features", ""), ("ramp", ""), ("agreement", ""),
    )  # fmt: skip
    rows = [
        [
            str(cut.depth),
            f"<code>{escape(cut.after)}</code>",
            str(cut.width),
            f"{cut.bytes_per_row:,}",
            f"{cut.share:.0%}",
            f"{cut.grid} x {cut.grid}" if cut.grid else "own exit",
            f"{cut.features:,}",
            f"{cut.ramp_bytes / 1024:,.1f} KiB",
            f"{cut.agreement:.1%}",
        ]
        for cut in cuts
    ]
    return _table(head, rows)


def _exits(report: ExportReport) -> str:
    manifest = report.manifest
    full_us = manifest.exits[-1].elapsed_us[1]
    head = (
        ("exit", "left"), ("segments that have run", "left"), ("time", ""), ("of the full", ""), ("agreement", ""),
        *((f"leave at {point.max_loss:.1%}", "") for point in report.expected),
    )  # fmt: skip
    rows = []
    for number, exit_ in enumerate(manifest.exits):
        depths = ", ".join(
            f"{escape(member.name)} {depth}/{member.depth}"
            for member, depth in zip(manifest.members, exit_.depths, strict=True)
            if depth
        )
        time_us = exit_.elapsed_us[1]
        items = [str(number), depths, _ms(time_us), f"{time_us / full_us:.0%}", f"{exit_.agreement:.1%}"]
        rows.append([*items, *(f"{point.leaves[number]:.1%}" for point in report.expected)])
    return _table(head, rows)


def _expected(report: ExportReport) -> str:
    if not report.expected:
        return "<p>The bag has no early exit: every answer waits for the full ensemble.</p>"
    full_us = report.manifest.exits[-1].elapsed_us[1]
    message = (
        f"<p>Mean time of an answer with the best fixed thresholds for {report.expected[0].rows} calibration rows, at "
        f"batch 1 on an idle machine, heads of the offered exits included. The {report.parts['report']} other rows had "
        "no say in the thresholds: where their loss is above the one aimed at, fixed thresholds do not keep it; the "
        "tuner <code>budget</code> does. Lossless stops come on top.</p>"
    )
    head = (
        ("loss aimed at", "left"), ("time", ""), ("of the full", ""), ("other rows: time", ""), ("and loss", ""),
        ("where answers leave, exit 0 at the left", "left"),
    )  # fmt: skip
    rows = [
        [
            f"{point.max_loss:.1%}",
            _ms(point.latency_us),
            f"{point.latency_us / full_us:.0%}",
            f"{point.unseen_latency_us / full_us:.0%}",
            f"{point.unseen_loss:.1%}",
            _bar(point),
        ]
        for point in report.expected
    ]
    return message + _table(head, rows)


def _bar(expected: Expected) -> str:
    early = "".join(
        f'<i style="width:{share:.2%};background:var(--s{number % 3})" title="exit {number}: {share:.1%}"></i>'
        for number, share in enumerate(expected.leaves[:-1])
        if share
    )
    return f'<div class="bar" title="full ensemble: {expected.leaves[-1]:.1%}">{early}</div>'


def _made(report: ExportReport) -> str:
    parts = ", ".join(f"{rows} for {part}" for part, rows in report.parts.items())
    apart = ", ".join(f"{escape(name)} {difference:.1e}" for name, difference in report.worst_difference.items())
    took = ", ".join(f"{escape(stage)} {seconds:.1f} s" for stage, seconds in report.seconds.items())
    return (
        f"<p>Samples: {parts}.<br>Largest difference of a probability between a member and its segments in sequence: "
        f"{apart}.<br>Time taken: {took}.</p>"
    )


def _table(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    def cells(tag: str, texts: Sequence[str]) -> str:
        pairs = zip(texts, (kind for _, kind in head), strict=True)
        return "".join(
            f'<{tag} class="{kind}">{text}</{tag}>' if kind else f"<{tag}>{text}</{tag}>" for text, kind in pairs
        )

    lines = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells("th", [name for name, _ in head])}</tr>{lines}</table></div>'


def _ms(us: float) -> str:
    return f"{us / 1e3:.2f} ms" if us < 1e5 else f"{us / 1e3:.0f} ms"
