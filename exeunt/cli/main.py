"""`exeunt VERB ...`: finds the verbs, runs one, and turns errors into one line and an exit code.

A verb is a module beside this one with

    its docstring            the verb's help: "`exeunt VERB`: one line.", then what it does, then an `Example:`
    add_options(parser)      adds its options
    run(args) -> int | None  does the work; imports what it needs inside, so that `exeunt --help` needs numpy alone
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import exeunt
from exeunt import cli

ORDER = (
    *("demo", "init", "export", "inspect", "check", "advise", "serve", "infer", "bench", "perf", "profile"),
    *("cost", "replay", "gateway", "control", "watch", "dashboard"),
)
INTERNAL_ERROR = 70  # sysexits.h: EX_SOFTWARE
IO_ERROR = 74  # EX_IOERR
UNAVAILABLE = 69  # EX_UNAVAILABLE
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE

# import name -> the extra that brings it
EXTRAS = {
    "aiohttp": "client",
    "docker": "docker",
    "exeunt_client": "client",
    "geventhttpclient": "client",
    "google": "client",
    "grpc": "client",
    "jinja2": "export",
    "PIL": "export",
    "matplotlib": "plot",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxruntime": "engine",
    "onnxscript": "export",
    "prometheus_client": "cli",
    "pyarrow": "records",
    "pytriton": "server",
    "rich": "cli",
    "sklearn": "demo",
    "torch": "torch",
    "tritonclient": "client",
}


HELPERS = ("arguments", "control_ramps", "main", "progress", "stop_signals")  # modules beside the verbs


def verbs() -> list[str]:
    """Names of the verbs that exist, in the order of their use."""
    names = [module.name for module in pkgutil.iter_modules(cli.__path__) if module.name not in HELPERS]
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="exeunt",
        description="Serve ensembles with early exits on Triton Inference Server, under a promise on the loss.",
        epilog="Example: exeunt demo",
    )
    top.add_argument("--version", action="version", version=f"exeunt {exeunt.__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name in verbs():
        _add_verb(subparsers, name)
    for verb in subparsers.choices.values():
        verb.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return top


def _add_verb(subparsers: Any, name: str) -> None:
    verb = importlib.import_module(f"exeunt.cli.{name}")
    line, what, example = str(verb.__doc__).strip().split("\n\n")
    parser = subparsers.add_parser(name, help=line.split(": ", 1)[1].rstrip("."), description=what, epilog=example)
    verb.add_options(parser)
    parser.set_defaults(run=verb.run)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: arguments; those of the process if None.

    Returns:
        exit code: 0, or the error's (sysexits.h), or 130 after Ctrl-C.
    """
    args = parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at exit
        return BROKEN_PIPE
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        line, code = _message(error)
        print(f"exeunt: {line}", file=sys.stderr)
        return code


def _message(error: Exception) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    exit_code = getattr(error, "exit_code", None)  # ExeuntError, and the client's ClientError
    if exit_code is not None:
        return str(error), exit_code
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra:
            return f"{error.name} is not installed; pip install 'exeunt[{extra}]'", UNAVAILABLE
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or type(error).__name__}: {error.strerror}", IO_ERROR
    return f"internal error: {type(error).__name__}: {error} (--debug shows where)", INTERNAL_ERROR


if __name__ == "__main__":
    sys.exit(main())
