"""`exeunt export`: cut a bag's members, train their ramps, and write a model repository.

Read a bag file, cut its members into segments, verify that the segments equal the members, train ramps against the full
vote, measure, and write a Triton model repository: all of it or nothing.

Example: exeunt export BAG.toml -o model_repository
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from exeunt.cli.arguments import numbers
from exeunt.cli.init import add_init_options, bag_text, init_request
from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from exeunt.manifest import Manifest
    from exeunt_export.bagfile.bagfile import BagFile
    from exeunt_export.writing.native import NativeOptions


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("bag", type=Path, nargs="?", help="bag file: members, weights, labels, samples, exit settings")
    parser.add_argument("-o", "--output", type=Path, default=Path("model_repository"), help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace a repository that exeunt wrote")
    plain = parser.add_argument_group("without a bag file", "with the defaults; `exeunt init` writes a file to change")
    plain.add_argument("--member", type=Path, action="append", default=[], help="ONNX file of a member; once for each")
    add_init_options(plain, required=False)
    native = parser.add_argument_group("native backends", "for NVIDIA's images; experimental: see docs/production.md")
    native.add_argument("--format", default="onnx", help="onnx, or tensorrt: engines, built by exeunt.serving.tensorrt")
    native.add_argument("--accelerator", default="none", help="none, or tensorrt: engines are built at the first start")
    native.add_argument("--precision", default="float32", help="of TensorRT's engines, float32 or float16 (float32)")
    native.add_argument(
        "--gpus", default="", help="deal the members out to these GPUs, as 0,1 (all models on all GPUs)"
    )
    native.add_argument("--rank-segments", action="store_true", help="early segments first, by Triton's rate limiter")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Export and report.

    Raises:
        ConfigError: the bag cannot be exported as it is described.
        ServingError: segments do not equal their member.
    """
    from exeunt.cli.progress import progress
    from exeunt_export.export_bag import export_bag
    from exeunt_export.writing.native import NativeOptions, adapt_configs
    from exeunt_export.writing.readme import PAGE_FILE

    options = _native(args)
    bag = _bag(args)
    with progress() as show:
        report = export_bag(bag, args.output, force=args.force, progress=show)
        if options != NativeOptions():
            adapt_configs(report.output, report.manifest, options)
        if options.format == "tensorrt":
            _recipes(bag, report.output, report.manifest, options)
    page = report.output / PAGE_FILE
    if args.json:
        print(json.dumps({"output": str(report.output), "page": str(page), **report.to_mapping()}))
    else:
        print(f"{report.summary()}\nas a page: {page}")
    return 0


def _bag(args: argparse.Namespace) -> BagFile:
    """The bag file, or one made of the options.

    Raises:
        ConfigError: neither, or both.
    """
    from exeunt_export.bagfile.bagfile import BagFile

    if args.bag is not None:
        if args.member:
            raise ConfigError(f"--member and {args.bag}: members of a bag file stand in it")
        return BagFile.read(args.bag)
    if not args.member:
        raise ConfigError("nothing to export: a bag file, or --member FILE.onnx (once for each) and --samples FILE")
    text = bag_text(init_request(args, args.member, Path.cwd(), strict=True))
    return BagFile.parse(text, "command line", Path.cwd())


def _native(args: argparse.Namespace) -> NativeOptions:
    """The options of the native backends, checked before the work of an export."""
    from exeunt_export.writing.native import NativeOptions

    gpus = numbers("--gpus", args.gpus, int, "numbers separated by commas, as 0,1") if args.gpus else ()
    options = NativeOptions(args.format, args.accelerator, args.precision, gpus=gpus, rank_segments=args.rank_segments)
    options.check("export")
    return options


def _recipes(bag: BagFile, repository: Path, manifest: Manifest, options: NativeOptions) -> None:
    """Ask for engines, with the bag's own samples to compare them by."""
    from exeunt_export.bagfile import samples as sampling
    from exeunt_export.readers.shared_preprocessing import run_shared_preprocessing
    from exeunt_export.writing.tensorrt import SAMPLE_ROWS, write_engine_recipes

    assert bag.samples is not None  # a bag file names its samples
    loaded = sampling.load(bag.samples, f"{bag.where}: samples", bag.inputs, bag.images)
    rows = {name: array[:SAMPLE_ROWS] for name, array in loaded.items()}
    if bag.preprocess is not None:
        rows = run_shared_preprocessing(bag.name, bag.preprocess, rows, f"{bag.where}: preprocess", "samples").samples
    named = {name or manifest.inputs[0].name: array for name, array in rows.items()}
    write_engine_recipes(repository, manifest, named, options.precision, options.gpus)
