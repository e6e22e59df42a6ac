"""A gateway's life: it listens, says so, and on a signal answers everybody whom it has let in."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web

from exeunt.errors import ConfigError
from exeunt.gateway.grpc_side import GrpcSide
from exeunt.gateway.grpc_upstream import Upstream
from exeunt.gateway.http_side import HttpSide
from exeunt.gateway.http_upstream import HttpUpstream
from exeunt.gateway.parameters import ClassRule
from exeunt.gateway.public_models import PublicModels
from exeunt.hosting.host import monotonic_us
from exeunt.serving.launch import HOST

LINGER_S = 1.0  # after the last answer, for callers on kept connections to hear that it leaves
_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What a gateway is started with.

    Attributes:
        repository: that the server serves.
        to_http: "HOST:PORT" of the server's HTTP port; "" = nothing is offered over HTTP.
        to_grpc: likewise.
        http_port: where to listen; 0 = a free one.
        grpc_port: likewise.
        address: of the interface to listen on.
        full: NAME_full is public, too.
        class_rule: who says the class of service.
        max_outstanding: rows of a bag that are with the server at once; 0 = what suits the bag.
        max_body_mb: bound of a request, in 10^6 bytes.
        max_json_mb: bound of the JSON in it.
    """

    repository: Path
    to_http: str
    to_grpc: str
    http_port: int = 0
    grpc_port: int = 0
    address: str = HOST
    full: bool = False
    class_rule: ClassRule = field(default_factory=ClassRule)
    max_outstanding: int = 0
    max_body_mb: int = 64
    max_json_mb: int = 8


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a gateway listens: "HOST:PORT", "" where it does not; and what it lets through."""

    http: str
    grpc: str
    models: tuple[str, ...]


async def run_gateway(settings: GatewaySettings, ready: Callable[[Listening], None]) -> bool:
    """Serve until SIGTERM or SIGINT, then drain; `ready` is told once, when it listens.

    Returns:
        whether everybody who was let in was answered.

    Raises:
        ConfigError: no bag in the repository, or a port cannot be had.
    """
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    models = PublicModels(settings.repository, monotonic_us, settings.full, settings.max_outstanding)
    grpc_port = _GrpcPort(settings, models) if settings.to_grpc else None
    http_port = _HttpPort(settings, models) if settings.to_http else None
    ports = [port for port in (grpc_port, http_port) if port is not None]
    try:
        for port in ports:
            await port.open()
        where = [port.where if port is not None else "" for port in (http_port, grpc_port)]
        ready(Listening(where[0], where[1], tuple(models.doors)))
        await stop.wait()
        models.close()
        for port in ports:
            port.turn_away()
        await _until(lambda: models.outstanding == 0, models.drain_s)
    finally:
        await asyncio.gather(*(port.close() for port in ports))
    return models.outstanding == 0


async def _until(happened: Callable[[], bool], within_s: float) -> None:
    """Wait, but no longer than so many seconds."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    while not happened() and loop.time() < end_s:
        await asyncio.sleep(_EVERY_S)


class _GrpcPort:
    def __init__(self, settings: GatewaySettings, models: PublicModels) -> None:
        options = [("grpc.max_receive_message_length", 1_000_000 * settings.max_body_mb)]
        options += [("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
        self._upstream = Upstream(settings.to_grpc)
        self._server: Any = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers([GrpcSide(models, self._upstream, settings.class_rule)])
        self._address, self._port = settings.address, settings.grpc_port
        self.where = ""

    async def open(self) -> None:
        try:
            port = self._server.add_insecure_port(f"{self._address}:{self._port}")
        except RuntimeError:
            raise _port_error("--grpc-port", self._address, self._port, "it is in use, or not ours") from None
        await self._server.start()
        self.where = f"{self._address}:{port}"

    def turn_away(self) -> None:
        """Nothing to do: the doors are closed, and say so."""

    async def close(self) -> None:
        """Refuse newcomers for a while, then stop; a call that comes in the last moment ends as CANCELLED."""
        await asyncio.sleep(LINGER_S)
        await self._server.stop(LINGER_S)
        await self._upstream.close()


class _HttpPort:
    def __init__(self, settings: GatewaySettings, models: PublicModels) -> None:
        most_bytes, most_json_bytes = 1_000_000 * settings.max_body_mb, 1_000_000 * settings.max_json_mb
        self._upstream = HttpUpstream(settings.to_http)
        self._side = HttpSide(models, self._upstream, settings.class_rule, most_bytes, most_json_bytes)

        def made(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            loop = asyncio.get_running_loop()
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=most_bytes)

        self._server = web.Server(self._side.answer, request_factory=made, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=LINGER_S)
        self._address, self._port = settings.address, settings.http_port
        self._listener: socket.socket | None = None  # the same as the site's, to be closed last
        self.where = ""

    async def open(self) -> None:
        await self._runner.setup()
        try:
            listener = socket.create_server((self._address, self._port))
        except (OSError, OverflowError) as error:
            raise _port_error("--http-port", self._address, self._port, error) from None
        self._listener = listener.dup()
        self.where = f"{self._address}:{listener.getsockname()[1]}"
        await web.SockSite(self._runner, listener).start()

    def turn_away(self) -> None:
        """Tell callers to close their connection, with every answer from now on."""
        self._side.leaving = True

    async def close(self) -> None:
        """Stop listening; connected callers get one more answer."""
        for site in list(self._runner.sites):
            await site.stop()
        if self._listener is not None:
            loop = asyncio.get_running_loop()
            for connection in _close_listener(self._listener):
                await loop.connect_accepted_socket(self._server, connection)
        await _until(lambda: not self._server.connections, LINGER_S)
        await self._runner.cleanup()
        await self._upstream.close()


def _close_listener(listener: socket.socket) -> list[socket.socket]:
    """Close a listening socket; the connections that waited to be accepted, which the kernel would reset."""
    listener.setblocking(False)
    connections = []
    with listener, suppress(BlockingIOError):
        while True:
            connections.append(listener.accept()[0])
    for connection in connections:
        connection.setblocking(False)
    return connections


def _port_error(option: str, address: str, port: int, why: object) -> ConfigError:
    return ConfigError(f"{option} {port}: {address}:{port} cannot be had ({why}); name a free port")
