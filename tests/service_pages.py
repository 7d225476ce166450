"""What the pages of docs/guides/services print: tests write their configurations from it, so that
what is printed is what runs. And pictures of what came of it, for the same pages.

Pictures are made where `TALLY_PICTURES` is set (`python -m tests.system.pictures services`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs/guides/services"
IMAGES = ROOT / "docs/images/services"
ASKED = "TALLY_PICTURES"
_RECIPE = re.compile(r"^<!-- recipe: ([a-z-]+) -->\n```\w*\n(.*?)^```", re.M | re.S)
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; width: 46rem; background: #14191f }
pre { margin: 0; padding: 1rem 1.25rem; font: 14px/1.45 "DejaVu Sans Mono", monospace;
      color: #d7dde3; white-space: pre-wrap; overflow-wrap: anywhere }
b { color: #7fd1c1 }
</style><pre>"""


def recipes(page: str) -> dict[str, str]:
    """The blocks of a page by their names."""
    return dict(_RECIPE.findall((PAGES / f"{page}.md").read_text(encoding="utf-8")))


def recipe(page: str, name: str, values: Mapping[str, object] | None = None) -> str:
    """A block, with what stands there as an example replaced: each key has to be there."""
    text = recipes(page)[name]
    for example, value in (values or {}).items():
        assert example in text, f"{page}.md, {name}: there is no {example!r}"
        text = text.replace(example, str(value))
    return text


def wanted() -> bool:
    return bool(os.environ.get(ASKED))


@contextmanager
def chromium(width: int, height: int) -> Iterator[Any]:
    """A page in a real browser."""
    from playwright.sync_api import sync_playwright  # most tests take no picture

    with sync_playwright() as driver:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()


def picture_of_page(name: str, url: str, cookies: Mapping[str, str]) -> None:
    """As Chromium shows it to whoever has these cookies."""
    if not wanted():
        return
    with chromium(640, 40) as page:
        page.context.add_cookies([{"name": n, "value": v, "url": url} for n, v in cookies.items()])
        page.goto(url)
        _shoot(page, name)


def answered(said: str) -> str:
    """What pamtester says, with the line ends that whoever answers it types: a pipe shows none."""
    return re.sub(r"(?<=[:.])\s*(?=pamtester:|Type )", "\n", said)


def picture_of_terminal(
    name: str, *steps: tuple[str, str], instead: Mapping[object, str] | None = None
) -> None:
    """steps: commands, and what they printed. instead: what to show for a port, a folder or a
    secret that differs from run to run."""
    if not wanted():
        return
    shown = "\n".join(f"<b>$ {escape(said)}</b>\n{escape(text.strip())}" for said, text in steps)
    for one, other in (instead or {}).items():
        shown = shown.replace(escape(str(one)), escape(other))
    with chromium(736, 40) as page:
        page.set_content(TERMINAL + shown + "</pre>")
        _shoot(page, name)


def _shoot(page: Any, name: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
