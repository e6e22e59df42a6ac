"""What a user installs: wheel, sdist and editable install import alike, and nothing is left out."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOP = PROJECT["tool"]["setuptools"]["package-dir"]
MAPPED = [name for name in TOP if name != "exeunt"]


def folder_of(package: str) -> Path:
    """Folder of a package in the checkout."""
    if package in TOP:
        return ROOT / TOP[package]
    return ROOT / package.replace(".", "/")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is packaged: a build writes into its source folder."""
    copy = tmp_path_factory.mktemp("source")
    for folder in TOP.values():
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy / file)
    return copy


@pytest.fixture(scope="module")
def built(source):
    """Folder with sdist and wheel, the wheel made from the sdist."""
    line = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(built, tmp_path_factory):
    """The wheel, unpacked as an installer would."""
    to = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as file:
        file.extractall(to)
    return to


def run(code: str, *flags: str) -> str:
    ended = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def where_packages_are(site: Path) -> dict[str, str]:
    """File of each mapped package as Python finds it with `site` as the only folder of packages."""
    code = f"""
import importlib.util, site
site.addsitedir({str(site)!r})
import exeunt.cli.main
for name in {[*MAPPED, "exeunt.cli.main"]!r}:
    print(name, importlib.util.find_spec(name).origin)
"""
    return dict(line.split(" ", 1) for line in run(code, "-S", "-P").splitlines())  # nor the current folder


def test_every_package_is_declared():
    declared = set(PROJECT["tool"]["setuptools"]["packages"])
    found = {
        ".".join([package, *init.parent.relative_to(ROOT / folder).parts])
        for package, folder in TOP.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert declared == found


def test_every_folder_of_modules_is_a_package():
    loose = {
        file.parent
        for folder in TOP.values()
        for file in (ROOT / folder).rglob("*.py")
        if not (file.parent / "__init__.py").exists() and file.name != "model.py"
    }
    assert loose == set()


def test_the_wheel_holds_every_module_and_backend(wheel):
    for package in PROJECT["tool"]["setuptools"]["packages"]:
        for module in folder_of(package).glob("*.py"):
            assert (wheel / package.replace(".", "/") / module.name).is_file(), f"{package}: {module.name}"
    backends = {path.parent.name for path in (wheel / "exeunt/python_backends").glob("*/model.py")}
    assert backends == {"exit_controller", "onnxruntime", "vote"}
    assert (wheel / "exeunt/py.typed").is_file()


def test_the_wheel_pollutes_no_top_level_name(wheel):
    assert {each.name for each in wheel.iterdir() if not each.name.endswith(".dist-info")} == {"exeunt"}


def test_the_command_line_of_the_wheel_imports_without_any_dependency(wheel):
    found = where_packages_are(wheel)
    assert all(Path(file).is_relative_to(wheel) for file in found.values()), found


def test_the_sdist_holds_what_the_wheel_is_made_of(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as file:
        names = {name.split("/", 1)[-1] for name in file.getnames()}
    assert {"export/__init__.py", "client/__init__.py", "python_backends/vote/model.py", "LICENSE"} <= names


def test_an_editable_install_imports_from_the_checkout(source, tmp_path):
    code = f"""
import os
os.chdir({str(source)!r})
from setuptools import build_meta
build_meta.build_editable({str(tmp_path)!r})
"""
    run(code)
    site = tmp_path / "site"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as file:
        file.extractall(site)
    found = where_packages_are(site)
    for package in MAPPED:
        assert Path(found[package]) == source / TOP[package] / "__init__.py"


def test_a_fresh_process_finds_the_backends():
    code = "from exeunt.serving.backends import own_backends; print(*sorted(own_backends()))"
    assert run(code).split() == ["exit_controller", "onnxruntime", "vote"]
