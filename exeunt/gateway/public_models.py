"""Which models are public, and the door that leads to each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from exeunt.contract import full_model, stream_model
from exeunt.gateway.door import Door
from exeunt.gateway.refusal_errors import NotPublicError
from exeunt.serving.bags import some_bags


class PublicModels:
    """The public models of a repository's bags.

    Args:
        repository: that the server serves.
        clock_us: gives the time.
        full: NAME_full, the plain ensemble, is public too.
        max_outstanding: see `Door`; 0 = what suits the bag.

    Attributes:
        doors: public model -> its bag's door.
        drain_s: how long a stop waits for answers in flight: the longest of the bags.

    Raises:
        ConfigError: the repository holds no bag, or cannot be read.
    """

    def __init__(self, repository: Path, clock_us: Callable[[], int], full: bool, max_outstanding: int) -> None:
        self.doors: dict[str, Door] = {}
        bags = some_bags(repository)
        for bag in bags:
            door = Door(bag.manifest, clock_us, max_outstanding)
            name = bag.manifest.bag
            further = [stream_model(name), *([full_model(name)] if full else [])]
            self.doors |= {model: door for model in (name, *further) if model == name or (repository / model).is_dir()}
        self.drain_s = max(bag.settings.drain_s for bag in bags)

    def door(self, name: str) -> Door:
        """The door to a model.

        Raises:
            NotPublicError: it is none of the public ones.
        """
        if name not in self.doors:
            raise NotPublicError(name, self.doors)
        return self.doors[name]

    def close(self) -> None:
        """Refuse newcomers from now on; who waits already is still let in."""
        for door in self.doors.values():
            door.close()

    @property
    def outstanding(self) -> int:
        """Calls that wait at a door or are with the server."""
        return sum(door.calls for door in set(self.doors.values()))
