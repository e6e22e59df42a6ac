import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import exeunt
from exeunt.cli import main as cli
from exeunt.cli.main import main, parser, verbs

ROOT = Path(exeunt.__file__).parent.parent
# import names that a bare `pip install exeunt` does not bring
OPTIONAL = sorted(cli.EXTRAS)


@pytest.fixture
def verb(monkeypatch):
    """A command line with one verb, `fail`, that raises what the test sets."""

    class Fail:
        def __init__(self, error):
            self.error = error

        __doc__ = "`exeunt fail`: fail.\n\nRaise an error.\n\nExample: exeunt fail"

        def add_options(self, parser):
            pass

        def run(self, args):
            raise self.error

    def with_error(error):
        monkeypatch.setattr(cli, "verbs", lambda: ["fail"])
        monkeypatch.setitem(sys.modules, "exeunt.cli.fail", Fail(error))

    return with_error


@pytest.mark.parametrize("name", verbs())
def test_each_verb_has_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"Example: exeunt {name}" in " ".join(out.replace("Example:\n", "Example: ").split())


def test_the_help_lists_every_verb_in_the_order_of_use():
    help_text = parser().format_help()
    places = [help_text.index(f"\n    {name}") for name in verbs()]  # a long name has its help on the next line
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (exeunt.errors.ConfigError("bag.toml: key"), "exeunt: bag.toml: key", 78),
        (exeunt.errors.RequestError("input 'x'"), "exeunt: input 'x'", 65),
        (exeunt.errors.OverloadedError("full"), "exeunt: full", 75),
        (exeunt.errors.ServingError("s1 failed"), "exeunt: s1 failed", 70),
        (PermissionError(13, "Permission denied", "/x"), "exeunt: /x: Permission denied", 74),
        (ModuleNotFoundError("no", name="pyarrow.parquet"), "pip install 'exeunt[records]'", 69),
        (ZeroDivisionError("by zero"), "internal error: ZeroDivisionError: by zero (--debug shows where)", 70),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(verb, capsys, error, line, code):
    verb(error)
    assert main(["fail"]) == code
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1


@pytest.mark.parametrize("argv", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback_before_or_after_the_verb(verb, capsys, argv):
    verb(ZeroDivisionError("by zero"))
    main(argv)
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130_without_a_word(verb, capsys):
    verb(KeyboardInterrupt())
    assert main(["fail"]) == 130
    assert capsys.readouterr().err == ""


def test_help_needs_numpy_alone():
    code = f"""
import sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None  # importing it now fails
from exeunt.cli.main import parser
print(len(parser().format_help()))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_the_installed_command_tells_its_version():
    ended = subprocess.run([Path(sys.executable).parent / "exeunt", "--version"], capture_output=True, text=True)
    assert ended.stdout.strip() == f"exeunt {exeunt.__version__}"


def test_a_reader_that_leaves_early_is_no_error():
    line = f"'{sys.executable}' -m exeunt.cli.main --help | true"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=os.environ, check=False)
    assert ended.stderr == ""


def test_the_extras_named_in_messages_exist():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(cli.EXTRAS.values()) <= set(extras), json.dumps(sorted(extras))
