"""The demo: fetch four models, export their bag, serve it, measure it, say how to ask it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from exeunt.demo.filetypes.measure import FiletypesResults, measure
from exeunt.demo.filetypes.picture import draw
from exeunt.demo.filetypes.prepare import prepare, stream_of
from exeunt.demo.filetypes.report import print_report, to_mapping
from exeunt.demo.filetypes.wheels import FileModels
from exeunt.demo.output import claim, save_report
from exeunt.measuring.progress import bar_callback, bars
from exeunt.serving.pip_server import serve

TEST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class FileDemoPlan:
    """What the demo does.

    Attributes:
        folder: gets everything the demo makes: bag, repository, report.json, picture.png, server.log.
        mode: how the members run.
        seed: of files, truncation and arrivals.
        stream_s: seconds of stream for each contender at each load.
    """

    folder: Path
    mode: str
    seed: int = 0
    stream_s: float = 10.0


def run_file_demo(plan: FileDemoPlan, models: FileModels, console: Console) -> FiletypesResults:
    """Run the demo and print what it found.

    Raises:
        ConfigError: the folder is somebody's, or export or serving refused.
        ServingError: the server failed.
    """
    begun_s = time.monotonic()
    claim(plan.folder)
    with bars(console) as progress:
        prepared = prepare(plan.folder, models, plan.mode, plan.seed, bar_callback(progress, "export: "))
    prepared_s = time.monotonic() - begun_s
    stream = stream_of(prepared.test, TEST_ROWS, plan.seed + 2)
    np.save(plan.folder / "test.npy", stream.rows)
    np.save(plan.folder / "truth.npy", stream.truth)
    console.print(f"{len(prepared.test)} files of {prepared.types} types to ask about; start Triton")
    with serve(prepared.repository, log=plan.folder / "server.log") as server, bars(console) as progress:
        results = measure(prepared, f"grpc://{server.grpc_url}", plan.stream_s, plan.seed, bar_callback(progress, ""))
    print_report(results, console)
    save_report(to_mapping(results), plan.folder)
    draw(results, plan.folder / "picture.png")
    total_s = time.monotonic() - begun_s
    folder = escape(str(plan.folder))
    console.print(f"Export took {prepared_s:.0f} s of {total_s:.0f} s. Wrote report.json and picture.png to {folder}.")
    console.print("\n[bold]Ask it yourself[/]:", soft_wrap=True)
    for line in (
        f"exeunt serve {folder}/model_repository --grpc-port 8001 &",
        "python examples/file_type.py README.md pyproject.toml docs/figures/demo.png",
        "exeunt watch filetypes",
    ):
        console.print(f"  {line}", soft_wrap=True)
    return results
