"""A docs page's commands, in its order: those of its code blocks, and the `docker compose` ones of its text."""

from __future__ import annotations

import re

# a block with its language, or a command in a line
_PLACES = re.compile(
    r"^```(?P<language>\w*)\n(?P<block>.*?)^```$|`(?P<span>(?:\w+=\S+ )?docker\s+compose\s[^`]+)`",
    re.DOTALL | re.MULTILINE,
)
_COMMENT = re.compile(r"\s+#.*$")


def commands(text: str) -> list[str]:
    """One line per command, without comments, each once; a line that ends in a backslash goes on in the next.

    Args:
        text: Markdown; blocks that name a language are no commands.
    """
    lines: list[str] = []
    for match in _PLACES.finditer(text):
        if match["span"] is not None:
            lines.append(" ".join(match["span"].split()))
        elif not match["language"]:
            lines += [_COMMENT.sub("", line) for line in re.sub(r"\\\n\s*", "", match["block"]).splitlines()]
    return list(dict.fromkeys(filter(None, lines)))
