"""`exeunt check`: validate a model repository without a server.

Read every manifest, config.pbtxt and ONNX file of a model repository, compare them with each other, check how the
ensembles are wired, and push one row through every segment in this process. Lists what is wrong and what to do about
it; exit code 78 if anything is.

Example: exeunt check model_repository
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from exeunt.errors import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("repository", type=Path, help="folder that `exeunt export` wrote")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Check and report.

    Raises:
        ConfigError: there is no repository to check.
    """
    from exeunt.serving.checks.repository import check_repository

    report = check_repository(args.repository)
    if args.json:
        print(json.dumps({"repository": str(args.repository), **dataclasses.asdict(report)}))
    else:
        for problem in report.problems:
            print(problem)
        bags = f"bag {', '.join(report.bags)}" if report.bags else "no bag"
        verdict = f"{len(report.problems)} problems" if report.problems else "all sound"
        print(f"{args.repository}: {len(report.models)} models, {bags}: {verdict}")
    return ConfigError.exit_code if report.problems else 0
