"""The store on a Redis or Valkey server: a text per class of service, changed by compare and set; a stream of lessons.

The ledger's rule is Python (ledger.py). The server only has to say its run id and time with the text, and to replace
the text if neither text nor process has changed since: two short Lua scripts, which are atomic there. Whoever may write
to the server is trusted. Needed commands: EVAL, EVALSHA, SCRIPT LOAD, INFO, TIME, GET, SET, XADD, XREVRANGE, EXPIRE.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from exeunt.errors import ConfigError
from exeunt.sharing.ledger import Ledger, Message, Reply, exchange
from exeunt.sharing.ledger_text import from_text, to_text
from exeunt.sharing.store import StoreError

if TYPE_CHECKING:
    import redis

PASSWORD_VARIABLE = "EXEUNT_STATE_PASSWORD"
PASSWORD_FILE_VARIABLE = "EXEUNT_STATE_PASSWORD_FILE"
CA_FILE_VARIABLE = "EXEUNT_STATE_CA_FILE"
DEFAULT_PORT = 6379
LIMIT_S = 1.0  # of a connection, and of a reply
WHOLE_LIMITS = 3  # of these, a whole call takes at most: a reply may come byte by byte, each in time
TRIES = 8  # to replace a text that others replace, too
MOST_LESSONS = 64  # kept
READ_LESSONS = 32  # read at once
LESSONS_KEPT_S = 7 * 86_400
_MOST_TEXT_BYTES = 4 * 2**20

_RUN_ID = "string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')"
_READ = f"""
local time = redis.call('TIME')
return {{{_RUN_ID}, time[1], time[2], redis.call('GET', KEYS[1]) or ''}}
"""
_REPLACE = f"""
if {_RUN_ID} ~= ARGV[1] or (redis.call('GET', KEYS[1]) or '') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
return 1
"""


class RedisStore:
    """A store.

    Args:
        url: the setting `state_url`.
        content_hash: Manifest.content_hash; another bag has other keys.
        limit_s: time for a connection, and for a reply.

    Raises:
        ConfigError: no redis client is installed, or a file of credentials cannot be read.
    """

    def __init__(self, url: str, content_hash: str, limit_s: float = LIMIT_S) -> None:
        self._where = urlsplit(url).hostname or ""
        self._client = _client(url, limit_s)
        self._limit_s = limit_s
        self._read = self._client.register_script(_READ)
        self._replace = self._client.register_script(_REPLACE)
        self._prefix = f"exeunt:{content_hash}"

    def account_key(self, service_class: str) -> str:
        """Where the ledger of a class of service is."""
        return f"{self._prefix}:account:{service_class}"

    @property
    def lessons_key(self) -> str:
        """Where the lessons are."""
        return f"{self._prefix}:lessons"

    def exchange(self, service_class: str, message: Message) -> Reply:
        """Have a message taken by the ledger of a class of service, exactly once.

        Raises:
            StoreError: nobody knows whether it was taken; send it again.
            ConfigError: what is there is no ledger.
        """
        key = self.account_key(service_class)
        for _ in range(TRIES):
            run_id, now_s, text, ledger = self._ledger(key)
            changed, reply = exchange(ledger, message, now_s, run_id)
            fresh = to_text(changed)
            if fresh == text:
                return reply
            replaced = self._do(partial(self._replace, [key], [run_id, text, fresh]))
            if replaced == 1:
                return reply
        raise StoreError(f"the store at {self._where} is busy: {key} changed {TRIES} times")

    def _ledger(self, key: str) -> tuple[str, float, str, Ledger]:
        """(run id, time in seconds, text, ledger) now."""
        reply = self._do(lambda: self._read([key]))
        try:
            run_id, seconds, micros, text = (part.decode("utf-8") for part in reply)
            now_s = int(seconds) + int(micros) / 1e6
        except (AttributeError, TypeError, ValueError):
            raise StoreError(f"the store at {self._where} answers with garbage to a script") from None
        if not run_id or len(text) > _MOST_TEXT_BYTES:
            raise StoreError(f"the store at {self._where} says no run id, or holds too much under {key}")
        return run_id, now_s, text, from_text(text, f"key {key} of the store at {self._where}; delete it to start anew")

    def publish(self, by: str, lesson: bytes) -> None:
        """Add a lesson; the oldest fall out.

        Raises:
            StoreError: it was not added, as far as is known.
        """
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xadd(self.lessons_key, {"by": by, "lesson": lesson}, maxlen=MOST_LESSONS, approximate=False)
        pipeline.expire(self.lessons_key, LESSONS_KEPT_S)
        self._do(pipeline.execute)

    def lessons(self, after: str) -> list[tuple[str, str, bytes]]:
        """The newest lessons after a place ("" = all), oldest first: (place, by, lesson).

        Raises:
            StoreError: the store did not answer, or not with lessons.
        """
        least = f"({after}" if after else "-"
        entries = self._do(lambda: self._client.xrevrange(self.lessons_key, "+", least, READ_LESSONS))
        try:
            return [(place.decode(), by[b"by"].decode("utf-8"), by[b"lesson"]) for place, by in reversed(entries)]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise StoreError(f"the store at {self._where} answers with garbage for {self.lessons_key}") from None

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _do(self, step: Callable[[], Any]) -> Any:
        """Ask the server; whatever the client raises becomes a StoreError that names the host and no secret."""
        from redis import exceptions

        hurry = threading.Timer(WHOLE_LIMITS * self._limit_s, self._client.connection_pool.disconnect)
        hurry.daemon = True
        hurry.start()
        try:
            return step()
        except (exceptions.AuthenticationError, exceptions.ResponseError) as error:  # no words of ours are in it
            raise StoreError(f"the store at {self._where} refuses: {str(error)[:200]}") from None
        except Exception as error:  # an edge: the client and the network raise dozens of kinds
            self._client.connection_pool.disconnect()
            raise StoreError(f"the store at {self._where} does not answer: {type(error).__name__}") from None
        finally:
            hurry.cancel()


def _client(url: str, limit_s: float) -> redis.Redis:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise ConfigError("exit.state_url needs the redis client: pip install 'exeunt[redis]'") from None
    parts = urlsplit(url)
    tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": os.environ.get(CA_FILE_VARIABLE)}
    return redis.Redis(
        host=parts.hostname or "",
        port=parts.port or DEFAULT_PORT,
        db=int(parts.path.strip("/") or 0),
        username=unquote(parts.username) if parts.username else None,
        password=_password(),
        socket_timeout=limit_s,
        socket_connect_timeout=limit_s,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        **(tls if parts.scheme == "rediss" else {}),
    )


def _password() -> str | None:
    path = os.environ.get(PASSWORD_FILE_VARIABLE)
    if not path:
        return os.environ.get(PASSWORD_VARIABLE) or None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"${PASSWORD_FILE_VARIABLE} = {path}: cannot be read: {type(error).__name__}") from None
