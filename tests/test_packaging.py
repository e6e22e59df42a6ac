"""What a user installs: wheels, sdist and editable install import alike, and nothing is left out or owned twice."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "exeunt": ROOT / "exeunt",
    "exeunt_export": ROOT / "export/exeunt_export",
    "exeunt_backends": ROOT / "python_backends/exeunt_backends",
}
CLIENT = ROOT / "client/exeunt_client"
SOURCE = ("exeunt", "export", "client", "python_backends", "pyproject.toml", "build_backend.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is packaged: a build writes into its source folder."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def build(folder: Path, to: Path, *flags: str, **variables: str) -> Path:
    line = [sys.executable, "-m", "build", "--no-isolation", *flags, "--outdir", str(to), str(folder)]
    ended = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | variables)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return to


@pytest.fixture(scope="module")
def built(source):
    """Folder with sdist and wheel of exeunt, the wheel made from the sdist."""
    return build(source, source / "dist")


@pytest.fixture(scope="module")
def wheel(built, tmp_path_factory):
    """exeunt's wheel, unpacked as an installer would."""
    return unpacked(next(built.glob("*.whl")), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def client_wheel(source, tmp_path_factory):
    """exeunt-client's wheel, unpacked."""
    folder = build(source / "client", source / "client_dist", "--wheel")
    return unpacked(next(folder.glob("*.whl")), tmp_path_factory.mktemp("client_wheel"))


def unpacked(file: Path, to: Path) -> Path:
    with zipfile.ZipFile(file) as archive:
        archive.extractall(to)
    return to


def run(code: str, *flags: str) -> str:
    ended = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def where_packages_are(site: Path, names: tuple[str, ...] = (*PACKAGES, "exeunt.cli.main")) -> dict[str, str]:
    """File of each package as Python finds it with `site` as the only folder of packages."""
    code = f"""
import importlib.util, site
site.addsitedir({str(site)!r})
for name in {names!r}:
    print(name, importlib.util.find_spec(name).origin)
"""
    return dict(line.split(" ", 1) for line in run(code, "-S", "-P").splitlines())  # nor the current folder


def requirements(unpacked_wheel: Path) -> list[str]:
    text = next(unpacked_wheel.glob("*.dist-info/METADATA")).read_text()
    return [line for line in Parser().parsestr(text).get_all("Requires-Dist") if "extra ==" not in line]


def files_of(unpacked_wheel: Path) -> set[str]:
    return {str(file.relative_to(unpacked_wheel)) for file in unpacked_wheel.rglob("*") if file.is_file()}


def test_every_folder_of_modules_is_a_package():
    loose = {
        file.parent
        for folder in (*PACKAGES.values(), CLIENT)
        for file in folder.rglob("*.py")
        if not (file.parent / "__init__.py").exists() and file.name != "model.py"
    }
    assert loose == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_every_file_of_a_package(wheel, package):
    folder = PACKAGES[package]
    expected = {file.relative_to(folder.parent) for file in folder.rglob("*") if file.is_file()}
    expected = {str(file) for file in expected if "__pycache__" not in file.parts}
    assert expected <= files_of(wheel)


def test_the_client_wheel_holds_every_module_of_the_client(client_wheel):
    assert {f"exeunt_client/{file.name}" for file in CLIENT.glob("*.py")} <= files_of(client_wheel)


def test_no_two_distributions_own_the_same_file(wheel, client_wheel):
    assert files_of(wheel) & files_of(client_wheel) == set()


def test_the_wheel_pollutes_no_top_level_name(wheel):
    assert {entry.name for entry in wheel.iterdir() if not entry.name.endswith(".dist-info")} == set(PACKAGES)


def test_the_command_line_of_the_wheel_imports_without_any_dependency(wheel):
    package_files = where_packages_are(wheel)
    assert all(Path(file).is_relative_to(wheel) for file in package_files.values()), package_files


def test_the_client_alone_needs_nothing_of_the_server(client_wheel):
    code = f"""
import sys
sys.path.insert(0, {str(client_wheel)!r})
import exeunt_client
assert exeunt_client.__file__.startswith({str(client_wheel)!r})
print(sorted(name for name in sys.modules if name.split(".")[0] in ("exeunt", "exeunt_export", "exeunt_backends")))
"""
    assert run(code, "-P").strip() == "[]"


def test_a_wheel_from_an_sdist_requires_the_client_by_version(wheel):
    assert sorted(requirements(wheel)) == ["exeunt-client==0.1.0", "numpy>=1.26"]


def test_a_wheel_from_a_checkout_takes_the_client_from_its_folder(source, tmp_path):
    folder = build(source, tmp_path / "dist", "--wheel")
    needs = requirements(unpacked(next(folder.glob("*.whl")), tmp_path / "wheel"))
    assert f"exeunt-client @ {(source / 'client').as_uri()}" in needs


def test_a_release_from_a_checkout_requires_the_client_by_version(source, tmp_path):
    folder = build(source, tmp_path / "dist", "--wheel", EXEUNT_RELEASE="1")
    assert "exeunt-client==0.1.0" in requirements(unpacked(next(folder.glob("*.whl")), tmp_path / "wheel"))


def test_the_sdist_holds_what_the_wheel_is_made_of(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as file:
        names = {name.split("/", 1)[-1] for name in file.getnames()}
    modules = ("export/exeunt_export/__init__.py", "python_backends/exeunt_backends/vote/model.py")
    assert {*modules, "build_backend.py", "LICENSE"} <= names


def test_an_editable_install_imports_from_the_checkout(source, tmp_path):
    code = f"""
import os, sys
os.chdir({str(source)!r})
sys.path.insert(0, {str(source)!r})
import build_backend
build_backend.build_editable({str(tmp_path)!r})
"""
    run(code)
    site = unpacked(next(tmp_path.glob("*.whl")), tmp_path / "site")
    package_files = where_packages_are(site, (*PACKAGES, "exeunt_client"))
    folders = PACKAGES | {"exeunt_client": CLIENT}
    assert package_files == {
        name: str(source / folder.relative_to(ROOT) / "__init__.py") for name, folder in folders.items()
    }


def test_a_fresh_process_finds_the_backends():
    code = "from exeunt.serving.backends import own_backends; print(*sorted(own_backends()))"
    assert run(code).split() == ["exit_controller", "exit_stream", "onnxruntime", "vote"]
