"""README.md of every generated model repository."""

from pathlib import Path

README_FILE = "README.md"
PAGE_FILE = "report.html"
TEXT = Path(__file__).with_name("repository_readme.md").read_text(encoding="utf-8")
