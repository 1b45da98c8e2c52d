"""The pictures in docs/images: every page of the dashboard, light and dark, on a desk and on a phone, and of the Dagster UI.

    python docs/make_images.py demo                          # a finished run of the data root; needs Chromium
    python docs/make_images.py http://127.0.0.1:3000         # the Dagster UI, while `splat up` runs

Pictures show the first screen, reduced to 64 colours.
"""

import io
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from splat_dash.app import create_app
from splat_dash.query import ListQuery
from splat_dash.source import Source
from splat_serving.investigations.opening import open_subject

IMAGES = Path(__file__).parent / "images"
SIZES = {"desk": (1280, 800), "phone": (390, 780)}
N_COLORS = 64
ANSWERS = {
    "experiment": "table.strip",
    "whatif": "#whatif-answer table",
    "home": "canvas",
    "map": "canvas",
    "feature": ".main-svg",
}


def pages(source: Source) -> dict[str, str]:
    """The address of each page by the name of its picture, with a feature that has something to show."""
    best = source.rows(ListQuery(state="suggested", sort="-f1"))["feature_id"].to_list()
    first, second = (*best, 0, 1)[:2]
    examples = (source.feature(first).examples or {})["top"]
    sample = max(examples, key=lambda one: len(one["abilities"]))["global_index"]
    return {
        "home": "/",
        "features": "/features?sort=-f1",
        "feature": f"/f/{first}",
        "experiment": f"/f/{first}?tab=experiments&x=dose-sweep",
        "map": "/map?color=cluster&by=coactivation",
        "compare": f"/compare?f={first},{second}",
        "find": "/find?rule=swim_speed_up%3E%3D21+and+ninja_squid",
        "tokens": "/tokens",
        "whatif": f"/whatif?sample={sample}",
        "labels": "/labels",
        "runs": "/runs",
        "about": "/about",
    }


def main() -> None:
    """Draw all of them."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Error: there is no Chromium; `make browser` installs it on Debian")
    IMAGES.mkdir(exist_ok=True)
    asked = sys.argv[1] if len(sys.argv) > 1 else None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        if asked is not None and asked.startswith("http://"):
            draw_dagster(browser, asked)
        else:
            draw_dashboard(browser, asked)
        browser.close()


def draw_dashboard(browser: Any, run: str | None) -> None:
    """The dashboard of a run, served while the pictures are taken."""
    with open_subject(run) as subject, socket.socket() as listening:
        source = Source(subject)
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(create_app(source).server, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        draw(browser, url, pages(source))
        server.should_exit = True
        thread.join()


def draw(browser: Any, url: str, addresses: dict[str, str]) -> None:
    """Every page in every size and scheme."""
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            for name, path in addresses.items():
                page = context.new_page()
                page.goto(url + path)
                page.wait_for_selector("main h1")
                if name in ANSWERS:
                    page.wait_for_selector(ANSWERS[name], timeout=120_000)
                page.wait_for_timeout(2_500)
                keep(page, f"{name}-{size}-{scheme}.png")
                page.close()
            context.close()


def draw_dagster(browser: Any, url: str) -> None:
    """The Dagster UI: lineage and status of a published store, and the checks of an artifact."""
    addresses = {
        "dagster-lineage": ("/assets/published_store?view=lineage&lineageScope=upstream&lineageDepth=9", "feature_map"),
        "dagster-checks": ("/assets/sae_checkpoint?view=checks&checkDetail=fvu_is_within_limits", "Held-out error"),
    }
    page = browser.new_page(viewport={"width": 1400, "height": 880})
    for name, (path, awaited) in addresses.items():
        page.goto(url + path)
        page.get_by_text(awaited).first.wait_for(timeout=60_000)
        page.wait_for_timeout(5_000)
        keep(page, f"{name}.png")


def keep(page: Any, name: str) -> None:
    """Write the current screen of a page, and print the size of the file."""
    target = IMAGES / name
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(N_COLORS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.name}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
