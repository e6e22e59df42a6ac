"""A state folder of its own for each of several servers on one volume.

Two servers on one folder would overwrite each other's accounts. Replicas that an engine starts from one description
all name the same folder. So each takes the first subfolder that no process holds, and holds it until it ends. A replica
that starts again finds the learnt state and the error budget that the last holder of its subfolder left.
"""

from __future__ import annotations

import fcntl
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from exeunt.errors import ConfigError

_LOCK = ".replica.lock"


def own_subfolder(state_dir: Path, stack: ExitStack) -> Path:
    """The first of `replica-0`, `replica-1`, ... that no living process holds; held until the stack closes.

    Raises:
        ConfigError: the folder cannot be written.
    """
    for number in count():
        folder = state_dir / f"replica-{number}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / _LOCK).open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except OSError as error:
            raise ConfigError(f"{folder}: state_dir cannot be written ({error.strerror}); name another one") from None
        return folder
    raise AssertionError("there is always one more")
