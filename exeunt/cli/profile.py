"""`exeunt profile`: measure segments on a running server, and update the manifest's times.

Run every segment and heads model of a bag on a running server that has no other load, take the times that Triton
counted, and write them into the repository's manifest. What the bag has learnt stays. The server reads the new times at
its next start.

Example: exeunt profile model_repository --input images.npy --url grpc://127.0.0.1:8001
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt.cli.arguments import add_bag, named_inputs

if TYPE_CHECKING:
    from exeunt.manifest import Manifest


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_bag(parser)
    parser.add_argument("--input", type=Path, required=True, help=".npy or .npz of real inputs")
    parser.add_argument("--url", default="grpc://127.0.0.1:8001", help="the server (grpc://127.0.0.1:8001)")
    parser.add_argument("--dry-run", action="store_true", help="measure and show, write nothing")
    parser.add_argument("--json", action="store_true", help="print the times as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Measure, show, write.

    Raises:
        ConfigError: the repository, the bag or the inputs are not usable.
        ServingError: the server does not answer.
    """
    from rich.console import Console

    from exeunt.contract import MANIFEST_FILE
    from exeunt.manifest import Manifest
    from exeunt.measuring.served_segment_times import measure, retimed
    from exeunt.serving.bags import bag_of

    path = bag_of(args.repository, args.bag).folder / MANIFEST_FILE
    before = Manifest.load(path)  # as written, without what config.pbtxt overrides: it is written again
    inputs = named_inputs(args.input, lambda: before.inputs[0].name)
    console = Console(stderr=True)
    with console.status(f"profile {before.bag}"):
        after = retimed(before, measure(args.url, before, inputs))
    if not args.dry_run:
        after.save(path)
        console.print(f"{path}: times written; the server reads them at its next start", markup=False)
    if args.json:
        print(json.dumps(_times(after)))
    else:
        Console().print(_table(before, after))
    return 0


def _times(manifest: Manifest) -> dict[str, dict[int, float]]:
    """Model -> batch size -> microseconds."""
    table = {segment.model: segment.cost_us for member in manifest.members for segment in member.segments}
    return table | {exit_.heads: exit_.head_us for exit_ in manifest.exits if exit_.heads}


def _table(before: Manifest, after: Manifest) -> Any:
    from exeunt.tables import table_of

    sizes = sorted(after.exits[-1].elapsed_us)
    ends = list(dict.fromkeys((sizes[0], sizes[-1])))
    columns = [head for size in ends for head in (f"batch {size}: by export, ms", "on the server, ms")]
    rows = []
    for number, (old, new) in enumerate(zip(before.exits, after.exits, strict=True)):
        cells = [f"{profile.elapsed_us[size] / 1000:.2f}" for size in ends for profile in (old, new)]
        rows.append([str(number) if number < len(after.exits) - 1 else "full ensemble", *cells])
    return table_of(["exit", *columns], rows)
