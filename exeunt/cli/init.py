"""`exeunt init`: write a bag file for the ONNX files in a folder, every default as a comment.

Look at the ONNX files of a folder and at samples, and write a bag file: members, samples, and every other key with its
default as a comment. Files that are no classifiers of these samples are left out with the reason.

Example: exeunt init models --samples photographs --labels labels.txt
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt.errors import ConfigError, check_known

if TYPE_CHECKING:
    from exeunt_export.init_bag_file import InitRequest


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("folder", type=Path, help="where the ONNX files are")
    add_init_options(parser, required=True)
    parser.add_argument("-o", "--output", type=Path, help="bag file to write (FOLDER/bag.toml)")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


def add_init_options(parser: Any, required: bool) -> None:
    """Add the options that take the place of a bag file."""
    parser.add_argument(
        "--samples", type=Path, required=required, help=".npy, .npz, .csv or .parquet file, or a folder of images"
    )
    parser.add_argument("--labels", type=Path, help="file of labels, one per line (those that the files know)")
    parser.add_argument("--name", default="bag", help="of the bag, and of the model that clients call (bag)")
    parser.add_argument("--mode", default="engine", help="engine, for CPUs, or ensemble (engine)")
    parser.add_argument("--normalise", default="", help="of images: none, unit, signed, imagenet (as the files say)")


def run(args: argparse.Namespace) -> int:
    """Write the file.

    Raises:
        ConfigError: nothing can be made of the files, or a bag file is there.
    """
    from exeunt_export.bagfile.bagfile import BagFile

    if not args.folder.is_dir():
        raise ConfigError(f"{args.folder}: no such folder; it holds the members' ONNX files")
    output = args.output or args.folder / "bag.toml"
    if output.exists() and not args.force:
        raise ConfigError(f"{output} is there; --force replaces it, -o writes another")
    text = bag_text(init_request(args, sorted(args.folder.glob("*.onnx")), output.parent, strict=False))
    bag = BagFile.parse(text, str(output), output.parent)
    output.write_text(text, encoding="utf-8")
    left_out = [line.removeprefix("# left out: ") for line in text.splitlines() if line.startswith("# left out: ")]
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{output}: {len(bag.members)} member(s): {', '.join(member.name for member in bag.members)}")
    print(f"next: exeunt export {output} -o model_repository")
    return 0


def init_request(args: argparse.Namespace, members: list[Path], folder: Path, strict: bool) -> InitRequest:
    """What the command line says of a bag.

    Raises:
        ConfigError: a value that is not allowed.
    """
    from exeunt.manifest_check import MODES
    from exeunt_export.bagfile.pictures import NORMALISATIONS
    from exeunt_export.init_bag_file import InitRequest

    check_known("--mode", args.mode, MODES, "command line")
    check_known("--normalise", args.normalise, ("", *NORMALISATIONS), "command line")
    if args.samples is None:
        raise ConfigError("--samples is missing; it names unlabelled real inputs: a file or a folder of images")
    if not args.samples.exists():
        raise ConfigError(f"--samples {args.samples}: no such file or folder")
    return InitRequest(args.name, members, args.samples, folder, args.labels, args.mode, args.normalise, strict)


def bag_text(request: InitRequest) -> str:
    """The bag file's text; where only the normalisation of images is unknown, a person at a terminal is asked."""
    import dataclasses

    from exeunt_export.bagfile.pictures import NORMALISATIONS
    from exeunt_export.init_bag_file import UnknownScalingError, init_bag_text

    try:
        return init_bag_text(request)
    except UnknownScalingError as error:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        print(error, file=sys.stderr)
        answer = input(f"normalisation ({', '.join(NORMALISATIONS)}): ").strip()
        if answer not in NORMALISATIONS:
            raise
        return init_bag_text(dataclasses.replace(request, normalise=answer))
