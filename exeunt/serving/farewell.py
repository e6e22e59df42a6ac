"""The last moment of a stop: clients that are still connected over HTTP get 503, instead of a reset connection.

Triton cannot close its listener and go on answering: during its own shutdown it answers new requests NOT_FOUND for
seconds. So once the bags have drained it is frozen, its HTTP sockets are taken over (pidfd_getfd), and it is killed.
Every request that was sent, on an old connection or on one that waits to be accepted, gets 503; then the listener
closes. Without the right to take sockets over (another user's process, some containers) this step is left out, and a
few late requests are reset.

gRPC needs none of this: its clients are given UNAVAILABLE by their own library when a connection ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path

_PIDFD_GETFD = 438  # number of the system call, the same on every architecture
_ESTABLISHED, _CLOSE_WAIT, _LISTEN = "01", "08", "0A"
QUIET_S, LONGEST_S = 0.2, 2.0  # until a connection is closed: after its last byte, and at the latest
_BODY = json.dumps({"error": "the server is stopping; come again"}).encode()
REPLY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class Farewell:
    """HTTP sockets of a server that is about to be killed.

    Args:
        pid: process id of the server; it is frozen, and must be killed afterwards.
        port: of its HTTP endpoint.
    """

    def __init__(self, pid: int, port: int) -> None:
        self._listeners: list[socket.socket] = []
        self._connections: list[socket.socket] = []
        with contextlib.suppress(OSError):  # it has ended, or its sockets are not ours to take
            os.kill(pid, signal.SIGSTOP)
            for copy, state in _sockets(pid, port):
                copy.setblocking(False)
                (self._listeners if state == _LISTEN else self._connections).append(copy)

    def say(self) -> int:
        """Answer everybody 503, close the listener, then the connections. Call it when the server is dead.

        Returns:
            how many connections were answered.
        """
        for listener in self._listeners:
            with contextlib.suppress(OSError):  # until nobody waits to be accepted
                while True:
                    connection = listener.accept()[0]
                    connection.setblocking(False)
                    self._connections.append(connection)
            listener.close()
        answered = [connection for connection in self._connections if _answer(connection)]
        _linger(answered)
        for connection in self._connections:
            connection.close()
        return len(answered)


def _sockets(pid: int, port: int) -> Iterator[tuple[socket.socket, str]]:
    """Copies of a process's TCP sockets of a local port, with their states."""
    states = _states(port)
    pidfd = os.pidfd_open(pid)
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                target = os.readlink(entry)
                inode = target.removeprefix("socket:[").removesuffix("]")
                if inode != target and inode in states:
                    yield socket.socket(fileno=_copy(pidfd, int(entry.name))), states[inode]
    finally:
        os.close(pidfd)


def _states(port: int) -> dict[str, str]:
    """Inode -> state of every TCP socket of a local port."""
    lines = map(str.split, Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:])
    states = {words[9]: words[3] for words in lines if int(words[1].rsplit(":", 1)[1], 16) == port}
    return {inode: state for inode, state in states.items() if state in (_ESTABLISHED, _CLOSE_WAIT, _LISTEN)}


def _copy(pidfd: int, descriptor: int) -> int:
    """A copy of another process's descriptor.

    Raises:
        OSError: that is not allowed here, or not known to this kernel.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    copied = int(libc.syscall(_PIDFD_GETFD, pidfd, descriptor, 0))
    if copied < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return copied


def _answer(connection: socket.socket) -> bool:
    """Write the reply, unless a part of another one is still on its way; no more is written after it."""
    try:
        (unsent,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, struct.pack("i", 0)))
        if unsent:
            return False
        connection.send(REPLY)
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # the client has gone
        return False
    return True


def _linger(connections: list[socket.socket]) -> None:
    """Read what still comes until clients have closed or are quiet: a close with unread bytes would reset them."""
    end_s = time.monotonic() + LONGEST_S
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < end_s:
            ready = selector.select(QUIET_S)
            if not ready:
                return
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                if _gone(key.fileobj):
                    selector.unregister(key.fileobj)


def _gone(connection: socket.socket) -> bool:
    """Read what has come; whether the client has closed."""
    try:
        return not connection.recv(2**16)
    except BlockingIOError:
        return False
    except OSError:
        return True
