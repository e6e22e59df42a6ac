"""Protobuf's text format, as much of it as Triton's config.pbtxt is written in. Needs the standard library only.

The server's image has no protobuf for Python, and a supervisor must see what config.pbtxt overrides.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from exeunt.errors import ConfigError

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<word>[A-Za-z_][A-Za-z0-9_.]*)"""
    r"""|(?P<number>-?[0-9.][0-9A-Za-z.+-]*)|(?P<mark>[{}\[\]:,;<>])"""
)
Message = dict[str, list[Any]]  # field -> its values, in order


def parse(content: str, path: Path) -> Message:
    """Read a message.

    Raises:
        ConfigError: not the text format; names file and line.
    """
    return _Reader(content, path).message(end="")


class _Reader:
    def __init__(self, content: str, path: Path) -> None:
        self._path = path
        self._tokens: list[tuple[str, str, int]] = []  # kind, text, line
        place = 0
        while place < len(content):
            match = _TOKEN.match(content, place)
            line = content.count("\n", 0, place) + 1
            if match is None:
                raise self._error(line, content[place : place + 20])
            if match.lastgroup is not None:
                self._tokens.append((match.lastgroup, match.group(), line))
            place = match.end()
        self._tokens.append(("end", "", content.count("\n") + 1))
        self._next = 0

    def message(self, end: str) -> Message:
        fields: Message = {}
        while self._peek() != end:
            if self._peek() in (",", ";"):
                self._take()
                continue
            kind, name, line = self._take()
            if kind != "word":
                raise self._error(line, name)
            if self._peek() == ":":
                self._take()
            fields.setdefault(name, []).extend(self._values())
        self._take()
        return fields

    def _values(self) -> list[Any]:
        if self._peek() != "[":
            return [self._value()]
        self._take()
        values = []
        while self._peek() != "]":
            if self._peek() == ",":
                self._take()
            else:
                values.append(self._value())
        self._take()
        return values

    def _value(self) -> Any:
        kind, text, line = self._take()
        if text in ("{", "<"):
            return self.message("}" if text == "{" else ">")
        if kind == "text":
            parts = [text]
            while self._tokens[self._next][0] == "text":  # neighbours are one text
                parts.append(self._take()[1])
            return "".join(self._unquoted(part, line) for part in parts)
        if kind in ("word", "number"):
            return text
        raise self._error(line, text)

    def _unquoted(self, text: str, line: int) -> str:
        try:
            return str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            raise self._error(line, text) from None

    def _peek(self) -> str:
        kind, text, _ = self._tokens[self._next]
        return text if kind in ("mark", "end") else "\0"

    def _take(self) -> tuple[str, str, int]:
        self._next += 1
        return self._tokens[self._next - 1]

    def _error(self, line: int, text: str) -> ConfigError:
        return ConfigError(f"{self._path}: line {line}: {text[:40]!r} was not expected there")
