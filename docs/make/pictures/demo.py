"""The picture of the demo: `python -m docs.make.pictures.demo` draws demo.svg from demo.ans, a recorded screen.

`--record` runs the demo on a terminal of its own first (some minutes) and keeps what it shows at the end: the live
view's last frame and the verdict. `--check` compares only.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

IMAGES = Path(__file__).resolve().parents[2] / "images"
SCREEN, PICTURE = IMAGES / "demo.ans", IMAGES / "demo.svg"
LINES, COLUMNS = 40, 120
# Rich's own template names fonts on a foreign server; a picture must not fetch anything.
FONTS = re.compile(r"\s*@font-face \{.*?\}\n", re.DOTALL)
REDRAWN = re.compile(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)+")
BAR = re.compile(r"\x1b\[\?25l.*?\r?\x1b\[1A\x1b\[2K", re.DOTALL)
TOLD = re.compile(r"^(?:\x1b\[\?25h| )*\d+\.\d s  .*\n|\x1b\[\?25h", re.MULTILINE)


def record(command: list[str]) -> str:
    """Run a command on a terminal; give what stands there at the end, colours included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux says that nobody holds the other side any more
            break
        if not part:
            break
        seen += part
    if process.wait():
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return last_screen(seen.decode().replace("\r\n", "\n"))


def last_screen(seen: str) -> str:
    """Return the last frame of what was redrawn, and what was printed after it."""
    frame = REDRAWN.split(seen)[-1]
    return TOLD.sub("", BAR.sub("", frame)).rstrip() + "\n"


def plain(screen: str) -> str:
    """Return a screen's text without colours."""
    return "\n".join(line.rstrip() for line in Text.from_ansi(screen).plain.splitlines())


def draw(screen: str) -> str:
    """Return the picture of a screen as SVG."""
    text = Text.from_ansi(screen)
    width = max(len(line) for line in plain(screen).splitlines())
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(text, no_wrap=True, overflow="ignore", crop=False)
    drawn = console.export_svg(title="riverloop demo", theme=DIMMED_MONOKAI, unique_id="demo")
    return FONTS.sub("\n", drawn)


def main(arguments: list[str]) -> int:
    """Draw, record or compare."""
    if "--record" in arguments:
        SCREEN.write_text(record(["riverloop", "demo", "--no-stay"]), "utf-8")
    drawn = draw(SCREEN.read_text("utf-8"))
    if "--check" in arguments:
        return int(PICTURE.read_text("utf-8") != drawn)
    PICTURE.write_text(drawn, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
