"""Exports the entries of all_architectures.py, and writes the table of docs/models.md from what comes out.

python -m tests.architectures.table
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from exeunt_export import onnxfiles
from exeunt_export.bagfile.bagfile import BagFile, BagMember, Cuts, Serving
from exeunt_export.export_bag import export_bag
from exeunt_export.report.export_report import ExportReport
from tests.architectures.all_architectures import ENTRIES, Entry, samples
from tests.places import ROOT

DOCUMENT = ROOT / "docs" / "models.md"
START, END = "<!-- table: python -m tests.architectures.table -->", "<!-- end of table -->"
HEAD = """\
| member | written by, opset | batch, weights | nodes | cut after | tensors | ramp inputs | difference |
|---|---|---|---|---|---|---|---|"""


def export_entry(entry: Entry, folder: Path) -> tuple[Path, ExportReport]:
    """Write an entry's file and export it as a bag of its own: the file and the report."""
    file = folder / f"{entry.name}.onnx"
    entry.write(entry, file)
    bag = BagFile(
        where="the table",
        name=entry.name,
        members=(BagMember("m", file, output=entry.output, exits=entry.exits),),
        samples=None,
        mode="engine",
        cuts=Cuts(max_cut_width=entry.width, ramp_budget=10.0, times="counted"),
        serving=Serving(max_batch_size=16, baseline=False),
    )
    return file, export_bag(bag, folder / f"{entry.name}_repository", samples=samples(entry.kind))


def row(entry: Entry, file: Path, report: ExportReport) -> str:
    """One line of the table."""
    nodes = len(onnxfiles.load(file).graph)
    cuts = ", ".join(f"{cut.share:.0%}" for cut in report.cuts) or "none"
    widths = ", ".join(str(cut.width) for cut in report.cuts)
    features = ", ".join(str(cut.features) for cut in report.cuts)
    cells = (
        *(f"`{entry.name}`", f"{entry.exporter}, {entry.opset}", f"{entry.batch}, {entry.weights}", str(nodes)),
        *(cuts, widths, features, f"{report.worst_difference['m']:.1g}"),
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Replace the table in the document."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [row(entry, *export_entry(entry, Path(folder))) for entry in ENTRIES]
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    DOCUMENT.write_text("\n".join([f"{before}{START}", HEAD, *rows, f"{END}{after}"]), encoding="utf-8")


if __name__ == "__main__":
    main()
