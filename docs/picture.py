"""Draws `docs/demo.svg`: what `usernat demo` shows here and now. Run by `make pictures`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rich.console import Console

from usernat.demo.show import show

WIDTH = 84


def draw(path: Path) -> bool:
    """Run the demo, write the picture; whether the demo worked. The font is whatever the viewer has: nothing is fetched."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, highlight=False)
        worked = show(console)
    picture = console.export_svg(title="usernat demo")
    picture = re.sub(r"@font-face \{.*?\n    \}\n", "", picture, flags=re.DOTALL)
    path.write_text(picture, encoding="utf-8")
    return worked


if __name__ == "__main__":
    raise SystemExit(not draw(Path(__file__).with_name("demo.svg")))
