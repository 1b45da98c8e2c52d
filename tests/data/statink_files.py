"""stat.ink battle exports, written by hand."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

from splat_assets.data.statink import PLAYERS

BLANK: tuple[str, str] = ("sshooter", "")


def gear(weapon: str = "sshooter", **power: Any) -> tuple[str, str]:
    """A player's weapon and ability cell: gear power per ability, or true."""
    return weapon, json.dumps(power, separators=(",", ":"))


def write_battles(path: Path, *battles: list[tuple[str, str]]) -> Path:
    """Write battles of up to eight players (the rest have no abilities); .gz is compressed."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    columns = [f"{player}-{what}" for player in PLAYERS for what in ("weapon", "kill", "abilities")]
    rows.writerow(["# season", "period", "lobby", *columns, "medal1-name"])
    for battle in battles:
        players = battle + [BLANK] * (len(PLAYERS) - len(battle))
        cells = [cell for weapon, abilities in players for cell in (weapon, "7", abilities)]
        rows.writerow(["Drizzle Season 2022", "2022-11-18T22:00:00+00:00", "regular", *cells, "#1 Turf Inker"])
    raw = text.getvalue().encode()
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    return path
