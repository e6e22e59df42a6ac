"""Draws the rooms (folders) of the code and their imports into docs/architecture.md: `python docs/rooms.py`.

The graph is read from the code by grimp; `tests/test_architecture.py` fails where the page is behind the code.
"""

from __future__ import annotations

from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- rooms: python docs/rooms.py -->", "<!-- end of rooms -->"
PACKAGES = ("exeunt", "exeunt_client", "exeunt_export", "exeunt_backends")


def room_of(module: str) -> str:
    """The folder that a module lies in, as one name; "exeunt" for the nouns beside the folders."""
    parts = module.split(".")
    is_folder = parts[0] == "exeunt" and len(parts) > 1 and (ROOT / "exeunt" / parts[1]).is_dir()
    return ".".join(parts[:2]) if is_folder else parts[0]


def rooms() -> set[tuple[str, str]]:
    """(importer, imported) for every two rooms, without the nouns that everybody imports."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    pairs = {
        (room_of(module), room_of(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return {(a, b) for a, b in pairs if a != b and "exeunt" not in (a, b)}


def drawing() -> str:
    """The graph in Mermaid's language, without arrows that others imply."""
    arrows = rooms()
    names = sorted({room for pair in arrows for room in pair})
    reach = {name: _reachable(name, arrows) for name in names}
    direct = [(a, b) for a, b in sorted(arrows) if not any(b in reach[c] for x, c in arrows if x == a and c != b)]
    lines = ["```mermaid", "flowchart TD"]
    lines += [f"    {name.replace('.', '_')}[{name.replace('exeunt.', '')}]" for name in names]
    lines += [f"    {a.replace('.', '_')} --> {b.replace('.', '_')}" for a, b in direct]
    return "\n".join([*lines, "```"])


def page() -> str:
    """docs/architecture.md as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n{drawing()}\n{END}{after}"


def _reachable(room: str, arrows: set[tuple[str, str]]) -> set[str]:
    reachable: set[str] = set()
    ahead = [room]
    while ahead:
        for a, b in arrows:
            if a == ahead[0] and b not in reachable:
                reachable.add(b)
                ahead.append(b)
        ahead.pop(0)
    return reachable


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
