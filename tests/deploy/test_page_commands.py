"""What the containers' tests read from files: the commands of a page, and Prometheus' times. Needs no engine."""

from tests.containers.fast_clock import quicken
from tests.containers.page import commands
from tests.places import ROOT

PAGE = """
```
first --option   # what it is for
second \\
    --more
```
```python
third()
```
Then `docker compose
ps`, `KEY=value docker compose up`, `first --option` and `exeunt watch`.
```
fourth
```
"""


def test_commands_come_in_the_pages_order_without_comments_each_once():
    lines = commands(PAGE)
    assert lines == ["first --option", "second --more", "docker compose ps", "KEY=value docker compose up", "fourth"]


def test_the_operators_page_has_commands():
    assert "docker compose up --build" in commands((ROOT / "docs/production.md").read_text())


def test_a_fast_clock_shortens_times_and_nothing_else(tmp_path):
    (tmp_path / "slow").mkdir()
    slow = "scrape_interval: 10s\nfor: 2m\nexpr: rate(x:rate5m[1h]) > 60\n"
    (tmp_path / "slow/rules.yml").write_text(slow)
    quicken(tmp_path / "slow", tmp_path / "fast")
    fast = (tmp_path / "fast/rules.yml").read_text()
    assert fast == "scrape_interval: 1s\nfor: 20s\nexpr: rate(x:rate5m[600s]) > 60\n"
