"""Packing weights beside the first answers: see `Session.pack`."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable

from exeunt.engine.sessions import Session
from exeunt.errors import ServingError

_NICE = 10  # who answers goes first

log = logging.getLogger(__name__)


class Packer:
    """A thread that packs sessions one after the other, then ends."""

    def __init__(self, sessions: Iterable[Session]) -> None:
        self._sessions = [session for session in sessions if session.packs_later]
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, where there is anything to pack."""
        if self._sessions:
            self._thread = threading.Thread(target=self._run, name="exeunt-packer", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Leave the rest as it is; the one that is being packed is waited for."""
        self._closing = True
        self.join()

    def join(self) -> None:
        """Wait until all is packed."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        for session in self._sessions:
            if self._closing:
                return
            try:
                session.pack()
            except ServingError as error:
                log.warning("weights stay as they are mapped, large batches take longer: %s", error)
