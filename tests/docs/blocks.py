"""Fenced blocks of the README and the documentation, and the commands in them."""

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
README, README_ZH = REPOSITORY / "README.md", REPOSITORY / "README.zh.md"
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*) *(?P<rest>[^\n]*)\n(?P<text>.*?)^(?P=indent)``` *$", re.M | re.S
)
_INLINE = re.compile(r"`((?:python -m )?raysearch(?: [^`\n]+)?(?:\n[^`\n]+)?)`")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    """Name of the file with this text, as in `yaml title="NAME"`."""
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a page."""

    place: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words without the path of the environment and without shell redirections."""
        words = shlex.split(self.text, comments=True)
        words = words[: next((i for i, word in enumerate(words) if word in (">", "|")), len(words))]
        return [word.removeprefix(".venv/bin/") for word in words]


def blocks(page: Path) -> list[Block]:
    """Return all fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', match["rest"])
        line = text.count("\n", 0, match.start()) + 1
        inside = textwrap.dedent(match["text"])
        found.append(Block(page, line, match["language"], title[1] if title else None, inside))
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands of a shell block, which are on lines of their own or separated by `&&`."""
    found = []
    for number, line in enumerate(block.text.replace("\\\n", "  ").splitlines(), start=1):
        place = f"{block.page.relative_to(REPOSITORY)}:{block.line + number}"
        without_comment = re.sub(r"(^|\s)#.*$", "", line)
        found += [Command(place, part.strip()) for part in without_comment.split("&&") if part.strip()]
    return found


def inline_commands(page: Path) -> list[Command]:
    """Return the text between backticks outside blocks that starts like one of our commands."""
    text = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), page.read_text(encoding="utf-8"))
    return [
        Command(
            f"{page.relative_to(REPOSITORY)}:{text.count(chr(10), 0, match.start()) + 1}", " ".join(match[1].split())
        )
        for match in _INLINE.finditer(text)
    ]
