"""`exeunt infer`: ask a served bag once.

Send the rows of an .npy file (or an .npz with one array per input) as one request and print the answer to each row.

Example: exeunt infer digits --url grpc://127.0.0.1:8001 --input images.npy --deadline-ms 20
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt.cli.arguments import read_inputs
from exeunt.errors import ConfigError

if TYPE_CHECKING:
    from exeunt_client.answers import Answers


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", help="the bag's name, or another model with PROBABILITIES")
    parser.add_argument("--url", default="grpc://127.0.0.1:8001", help="grpc://HOST:PORT or http://HOST:PORT")
    parser.add_argument("--input", type=Path, required=True, help=".npy or .npz; the first dimension counts rows")
    parser.add_argument("--rows", type=int, help="send only the first rows of the file")
    parser.add_argument("--labels", type=Path, help="file of label names, one per line (default: the server's)")
    parser.add_argument("--full", action="store_true", help="wait for the full vote (exit = never)")
    parser.add_argument("--deadline-ms", type=float, help="answer with the best vote so far after this time")
    parser.add_argument("--max-risk", type=float, help="leave early only below this estimated risk, up to 1")
    parser.add_argument("--service-class", help="a class of service of the bag's settings")
    parser.add_argument("--json", action="store_true", help="one JSON object per row")


def run(args: argparse.Namespace) -> int:
    """Ask and print.

    Raises:
        ConfigError: a file is missing or holds no arrays.
        RequestError: the server or the client refuses the request.
        OverloadedError: the server takes no newcomers now.
        ServingError: the server failed or cannot be reached.
    """
    from exeunt_client.blocking import Client
    from exeunt_client.options import RequestOptions

    inputs = read_inputs(args.input, args.rows)
    labels = None if args.labels is None else _read_text(args.labels).splitlines()
    options = RequestOptions("never" if args.full else None, args.deadline_ms, args.max_risk, args.service_class)
    with Client(args.url, args.model, labels) as client:
        answers = client.infer(inputs, options)
    if args.json:
        print("\n".join(json.dumps(row) for row in as_mappings(answers)))
    else:
        _print_table(answers)
    return 0


def as_mappings(answers: Answers) -> list[dict[str, Any]]:
    """Each answer for JSON."""
    return [
        {
            "label": answer.label,
            "label_name": answer.label_name,
            "probabilities": [round(float(share), 6) for share in answer.probabilities],
            "exit": answer.exit,
            "reason": answer.reason.name.lower(),
            "risk": answer.risk,
        }
        for answer in answers
    ]


def _print_table(answers: Answers) -> None:
    from rich.console import Console

    from exeunt.tables import table_of

    rows = [
        (
            str(row),
            answer.label_name,
            f"{answer.probabilities.max():.4f}",
            "-" if answer.exit < 0 else str(answer.exit),
            answer.reason.name.lower(),
            f"{answer.risk:.4f}",
        )
        for row, answer in enumerate(answers)
    ]
    columns = ("row", "label", "probability", "exit", "reason", "risk")
    Console().print(table_of(columns, rows, left_columns=("label", "reason")))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
