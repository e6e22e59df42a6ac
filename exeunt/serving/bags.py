"""The one reader of an exported repository: its bags, with what config.pbtxt overrides. Everybody asks here.

Needs no other package, so that the server's image can use it, and nothing that starts slowly.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exeunt.contract import CALIBRATION_FILE, MANIFEST_FILE, exit_model
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.reading import reading
from exeunt.serving.pbtxt import Message, parse
from exeunt.settings import Settings

CONFIG_FILE = "config.pbtxt"


@dataclass(frozen=True, slots=True)
class ServedBag:
    """A bag of a repository.

    Attributes:
        manifest: as export wrote it, with what config.pbtxt overrides in its settings.
        folder: `NAME_exit/1`, which holds the manifest, and in engine mode the segments.
        pinned: config.pbtxt names the state_dir, which then stays whatever the server is asked.
    """

    manifest: Manifest
    folder: Path
    pinned: bool

    @property
    def settings(self) -> Settings:
        """The settings that rule."""
        return self.manifest.settings

    @property
    def calibration_file(self) -> Path:
        """The calibration data that belong to the manifest."""
        return self.folder / CALIBRATION_FILE


def bag_names(repository: Path) -> list[str]:
    """Names of a repository's bags, by their folders alone; nothing is read.

    Raises:
        ConfigError: no such folder, no permission to look into it, or no bag in it.
    """
    suffix = exit_model("")
    names = [path.parent.parent.name.removesuffix(suffix) for path in _manifests(repository)]
    if not names:
        raise ConfigError(f"{repository}: holds no bag (no */1/{MANIFEST_FILE}); `exeunt export` writes one")
    return names


def served_bags(repository: Path) -> list[ServedBag]:
    """The bags of a repository, by name; none is allowed, since Triton serves any model.

    Raises:
        ConfigError: a manifest, a config.pbtxt or one of its settings is wrong.
    """
    return [_bag(path) for path in _manifests(repository)]


def some_bags(repository: Path) -> list[ServedBag]:
    """The bags of a repository, at least one.

    Raises:
        ConfigError: see `bag_names` and `served_bags`.
    """
    bag_names(repository)
    return served_bags(repository)


def bag_of(repository: Path, name: str | None = None) -> ServedBag:
    """One bag of a repository.

    Args:
        repository: folder that `exeunt export` wrote.
        name: the bag's; None where there is one only.

    Raises:
        ConfigError: no such bag, or several and no name; or see `served_bags`.
    """
    names = bag_names(repository)
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        raise ConfigError(f"{repository}: bag {name!r}; allowed: {', '.join(names)}")
    return _bag(repository / exit_model(name) / "1" / MANIFEST_FILE)


def named_state_dir(bags: Sequence[ServedBag]) -> Path | None:
    """The state_dir that the bags' settings name, if any.

    Raises:
        ConfigError: they name different ones, and one server has one (files in it are told apart by content hash).
    """
    named = {bag.settings.state_dir for bag in bags if not bag.pinned} - {""}
    if len(named) > 1:
        raise ConfigError(f"the bags name different folders, state_dir = {', '.join(sorted(named))}; ask for one")
    return Path(named.pop()) if named else None


def model_files(repository: Path, name: str) -> list[Path]:
    """A file of every model that has it, by model; nothing is read.

    Args:
        repository: folder of model folders; one that does not exist has none.
        name: of the file, relative to the model's folder.

    Raises:
        ConfigError: this user may not look into the repository or a model's folder. (A glob would say "none" there,
            and a check that finds nothing to look at passes.)
    """
    try:
        with os.scandir(repository) as entries:
            folders = sorted(Path(entry.path) for entry in entries if entry.is_dir())
        return [folder / name for folder in folders if _exists(folder / name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise ConfigError(f"{error.filename}: cannot be read by this user; mind who owns the repository") from None


def _exists(path: Path) -> bool:
    """As `Path.exists`, but a folder that may not be searched raises PermissionError in every version of Python."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _manifests(repository: Path) -> list[Path]:
    return model_files(repository, f"1/{MANIFEST_FILE}")


def _bag(path: Path) -> ServedBag:
    manifest = Manifest.load(path)
    config = path.parent.parent / CONFIG_FILE
    overrides = _parameters(read_config(config))
    settings = manifest.settings.overridden(overrides, f"{config}: parameters")
    return ServedBag(replace(manifest, settings=settings), path.parent, pinned="state_dir" in overrides)


def read_config(path: Path) -> Message:
    """A config.pbtxt as it is written; ConfigError where it cannot be read."""
    with reading(path, CONFIG_FILE):
        return parse(path.read_text(encoding="utf-8"), path)


def _parameters(config: Message) -> dict[str, str]:
    """`parameters { key: "k" value { string_value: "v" } }`, of which there may be several."""
    pairs = ((entry.get("key", [""])[0], entry.get("value", [{}])[0]) for entry in config.get("parameters", []))
    return {str(key): str(value.get("string_value", [""])[0]) for key, value in pairs}
