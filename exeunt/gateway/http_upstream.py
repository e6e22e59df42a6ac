"""The server behind the gateway, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from exeunt.gateway.http_body import HEADER_LENGTH
from exeunt.gateway.refusal_errors import NoServerError
from exeunt.serving.launch import ADMIN_HEADER

CONNECT_S = 5.0
# headers of one hop are not passed on; no caller may send the key of the server's closed APIs
_NOT_PASSED = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade", "host", "content-length", "expect", ADMIN_HEADER),
}
_NOT_PASSED_ON = {*_NOT_PASSED, "content-encoding", HEADER_LENGTH.lower()}  # bodies are sent on without compression


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a caller gets; the content may be compressed, as the headers say."""

    status: int
    content: bytes
    headers: CIMultiDict[str]


class HttpUpstream:
    """Connections to the server. To be made and used within one event loop.

    Args:
        address: "HOST:PORT".
    """

    def __init__(self, address: str) -> None:
        self._base = f"http://{address}"
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),  # the doors bound the calls
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        )

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        own_headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """One call.

        Args:
            method: of the call.
            path: as `target_of` wrote it.
            headers: the caller's, without those of one hop.
            content: the body, or None.
            own_headers: that belong to the body.

        Raises:
            NoServerError: the server cannot be reached, or hung up.
        """
        sent = _passed(headers, _NOT_PASSED_ON)
        sent.update(own_headers or {})
        try:
            url = URL(self._base + path, encoded=True)
            async with self._session.request(method, url, data=content, headers=sent, allow_redirects=False) as reply:
                return HttpAnswer(reply.status, await reply.read(), _passed(reply.headers, _NOT_PASSED))
        except (aiohttp.ClientError, TimeoutError):
            raise NoServerError from None

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()


def _passed(headers: Mapping[str, str], without: set[str]) -> CIMultiDict[str]:
    """Headers but those of one hop, which `Connection` may name more of."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    return CIMultiDict((key, value) for key, value in headers.items() if key.lower() not in without | named)
