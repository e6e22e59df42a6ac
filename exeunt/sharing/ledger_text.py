"""The ledger as JSON text, as the store keeps it. Text that is not a valid ledger is refused."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import Any

from exeunt.errors import ConfigError
from exeunt.reading import reading
from exeunt.sharing.ledger import Ledger, LifeRecord, Reply

SCHEMA_VERSION = 1


def to_text(ledger: Ledger) -> str:
    """A ledger as text; numbers survive exactly."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(ledger)}, allow_nan=False, separators=(",", ":"))


def from_text(text: str, where: str) -> Ledger:
    """Read a ledger back.

    Args:
        text: from the store; "" is an empty ledger.
        where: the store's key, for messages.

    Raises:
        ConfigError: it is no ledger of this version of exeunt; somebody has to look at the key, and delete it.
    """
    if not text:
        return Ledger.empty()
    with reading(where, "ledger of accounts"):
        table = json.loads(text)
        version = table.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise ConfigError(f"{where}: schema_version {version!r}; allowed: {SCHEMA_VERSION}")
        lives = {str(life): _record(record) for life, record in table.pop("lives").items()}
        ledger = Ledger(run_id=_text(table.pop("run_id")), **{key: _amount(table[key]) for key in table}, lives=lives)
    return ledger


def _record(table: dict[str, Any]) -> LifeRecord:
    reply = table["reply"]
    names = {field.name for field in fields(Reply)} - {"number", "run_id"}
    amounts = {name: _amount(reply[name]) for name in names}
    number = reply["number"]
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(table["over"], bool):
        raise ValueError("a life whose number or end is none")
    answered = Reply(number, _text(reply["run_id"]), **amounts)
    return LifeRecord(_amount(table["owed"]), _amount(table["seen_s"]), table["over"], answered)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _amount(value: object) -> float:
    """A number of losses or seconds: finite, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value!r} is no amount")
    return float(value)
