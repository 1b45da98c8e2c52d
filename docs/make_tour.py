"""Write the outputs of `docs/tour.md` anew: `python docs/make_tour.py FOLDER` runs its commands in FOLDER, in order.

A block of commands is marked `console`; a line that begins with `$ ` is for bash, and what follows it is what it prints.
Lines that are not shown are one line `…`: before it stand the first lines that a command prints, after it the last ones.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

TOUR = Path(__file__).with_name("tour.md")
_LEFT_OUT = "…"
_COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


def executed(text: str, folder: Path) -> str:
    """The text with the outputs that its commands print today in folder."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    command = bin_folder / "splat"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m splat_assets.cli "$@"\n')
    command.chmod(0o755)
    (bin_folder / "python").unlink(missing_ok=True)
    (bin_folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (bin_folder / "python").chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SPLAT_")},
        "COLUMNS": "120",
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    return _BLOCK.sub(lambda block: _printed(block[0], folder, environment), text)


def _printed(block: str, folder: Path, environment: dict[str, str]) -> str:
    lines = []
    for command, shown in _COMMAND.findall(block):
        done = subprocess.run(
            ["bash", "-c", f"set -eu -o pipefail; {command}"],
            cwd=folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        printed = [line.rstrip() for line in done.stdout.rstrip("\n").splitlines()]
        lines += [f"$ {command}", *_shortened(printed, shown.splitlines())]
    return "".join(f"{line}\n" for line in lines)


def _shortened(printed: list[str], shown: list[str]) -> list[str]:
    """As many lines of what is printed as are shown today, before and after `…`; all of them where nothing is left out."""
    if _LEFT_OUT not in shown:
        return printed
    n_first = shown.index(_LEFT_OUT)
    n_last = len(shown) - n_first - 1
    return [*printed[:n_first], _LEFT_OUT, *printed[len(printed) - n_last :]]


if __name__ == "__main__":
    TOUR.write_text(executed(TOUR.read_text(), Path(sys.argv[1]).resolve()))
