"""The examples of a feature, by group or by an interval of the activation, each with its drop without each ability."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from dash import Dash, Input, Output, dcc, html, no_update

from splat_assets.errors import InputError, SplatError
from splat_assets.text.numerals import is_number
from splat_assets.text.wording import counted
from splat_dash import address, cells, ui
from splat_dash.cells import in_digits
from splat_dash.query import ShownExamples
from splat_dash.sent import value_of
from splat_dash.shown import current_source
from splat_dash.source import Source
from splat_dash.terms import meaning_of
from splat_serving.database.protocol import FeatureSummary
from splat_serving.investigations.near_duplicates import are_equal, group_near_duplicates

Address = Callable[..., str]
"""The address of the feature with the list and the build of the page, and other parameters changed."""
_N_INTERVALS = 10
_LARGEST = 3.4e38  # of float32
_GROUPS = {
    "top": "strongest",
    "band_top": "band: top",
    "band_high": "band: high",
    "band_core": "band: core",
    "band_below_core": "band: below core",
    "band_low": "band: low",
    "band_floor": "band: floor",
    "random_active": "random, firing",
    "random_inactive": "random, not firing",
}


def panel(
    source: Source, summary: FeatureSummary, group: str, parameters: Mapping[str, Any], at: Address
) -> html.Section:
    """The examples of a group, or those with an activation from `min` to `max` of the parameters."""
    chosen = interval(parameters)
    return _between(source, summary, chosen, at) if chosen else _of_group(source, summary, group, at)


def interval(parameters: Mapping[str, Any]) -> tuple[float, float] | None:
    """From `min` and `max` of an address; InputError."""
    if not parameters.get("min") and not parameters.get("max"):
        return None
    texts = [str(parameters[name]) for name in ("min", "max") if parameters.get(name)]
    if not all(map(is_number, texts)):
        raise InputError("min and max must be numbers, as min=0.5&max=0.75")
    low, high = float(parameters.get("min") or 0), float(parameters.get("max") or math.inf)
    return low, min(high, _LARGEST)


def _of_group(source: Source, summary: FeatureSummary, group: str, at: Address) -> html.Section:
    groups = summary.examples or {}
    if not groups:
        dead = not summary.statistics["n_active"]
        text = "It never fires: no examples." if dead else "Examples were not computed for this version."
        return html.Section(html.P(text, className="quiet"))
    group = group if group in groups else next(iter(groups))
    addresses = [(_GROUPS.get(name, name), at(group="" if name == "top" else name), name == group) for name in groups]
    shown = _table(source, summary, groups[group], {"group": group})
    return html.Section([ui.choices("Examples", addresses), _intervals(summary, at), *shown])


def _between(source: Source, summary: FeatureSummary, chosen: tuple[float, float], at: Address) -> html.Section:
    """The samples whose activation is within an interval, such as a bar of the histogram."""
    n, rows = source.between(summary.feature_id, *chosen)
    upper = "" if chosen[1] == _LARGEST else f" to {in_digits(chosen[1])}"
    shown_are = f" (the {len(rows)} strongest shown)" if n > len(rows) else ""
    return html.Section(
        [
            _intervals(summary, at, chosen),
            html.P(
                [
                    "Activation from ",
                    ui.term(f"{in_digits(chosen[0])}{upper}", "activation"),
                    ": ",
                    ui.term(counted(n, "samples"), "sample"),
                    ui.term(shown_are, "sample"),
                    ". ",
                    dcc.Link("All examples", href=at()),
                ],
                id="interval",
            ),
            *_table(source, summary, rows, {"min": chosen[0], "max": chosen[1]}),
        ]
    )


def _table(
    source: Source, summary: FeatureSummary, rows: Sequence[Mapping[str, Any]], which: Mapping[str, Any]
) -> list[Any]:
    """The table at once; the drop without each ability follows from the model. which: selects the same rows again."""
    strongest = float(summary.statistics["max"] or 0)
    request = {"feature": summary.feature_id, **which}
    files = address.files_of_feature(summary.feature_id, "examples", urlencode(which)).by_format("examples")
    head = [cells.heading(name) for name in ("activation", "weapon", "build")] + [cells.heading("sample", "", "number")]
    body = [
        cells.with_duplicates([ui.example(row, strongest) for row in group], are_equal(group))
        for group in group_near_duplicates(rows)
    ]
    return [
        ui.headed(html.Span(id=f"{ui.ANCHOR}examples"), ui.menu("examples", "examples", files)),
        html.Div(cells.drawn(head, body, "examples"), id="examples"),
        html.P("", id="examples-legend", className="quiet"),
        dcc.Store(id="examples-shown", data=request if source.subject.has_model and rows else None),
        dcc.Store(id="examples-drops"),
    ]


def _intervals(summary: FeatureSummary, at: Address, chosen: tuple[float, float] | None = None) -> html.Nav | None:
    """Links to ten intervals from 0 to the largest activation, each with its share of the samples on which the feature fires."""
    edges, counts = summary.histogram["edges"], summary.histogram["counts"]
    size = len(counts) // _N_INTERVALS
    total = sum(counts)
    if not total or not size:
        return None
    edges_at = [*range(0, size * _N_INTERVALS, size), len(counts)]
    links = []
    for first, last in zip(edges_at, edges_at[1:], strict=False):
        low, high = edges[first], edges[last]
        share = html.Small(in_digits(sum(counts[first:last]) / total, "%"), title=meaning_of("share"))
        words = [f"{in_digits(low)} to {in_digits(high)} ", share]
        links.append((words, at(min=repr(low), max=repr(high)), chosen == (low, high)))
    return ui.choices("Intervals of the activation", links, "choices small", total)


def register(app: Dash) -> None:
    """The drop of the activation without each ability of the examples, computed after they are shown."""

    @app.callback(
        Output("examples-drops", "data"),
        Output("examples-legend", "children", allow_duplicate=True),
        Input("examples-shown", "data"),
        prevent_initial_call="initial_duplicate",
    )
    async def ablation_drop(request: Any) -> tuple[Any, Any]:
        if request is None:
            return no_update, no_update
        try:
            which = value_of(ShownExamples, request, "examples")
            return await asyncio.to_thread(_drops_by_badge, current_source(), which), no_update
        except SplatError as error:
            return no_update, f"The drop without each ability is not available: {error}"

    ui.in_browser(app, "showDrops", Output("examples-legend", "children"), Input("examples-drops", "data"))


def _drops_by_badge(source: Source, which: ShownExamples) -> list[list[tuple[str, float] | None]]:
    """For each badge, text on the drop without it, and the drop in percent, 0 to 100; in the order of the table."""
    if which.group is None:
        rows = source.between(which.feature, which.min, which.max)[1]
    else:
        rows = (source.feature(which.feature).examples or {}).get(which.group, [])
    drops = source.ablation_drop(which.feature, tuple(row["global_index"] for row in rows))
    return [
        [
            _drop_text(drops.get(row["global_index"], {}).get(ability))
            for ability, _ in cells.in_order(row.get("abilities") or ())
        ]
        for group in group_near_duplicates(rows)
        for row in group
    ]


def _drop_text(drop: tuple[float, float] | None) -> tuple[str, float] | None:
    if drop is None:
        return None
    text = f"; without it {in_digits(-drop[0], '+')} ({in_digits(-drop[1], '+%')})"
    return text, round(100 * min(max(drop[1], 0.0), 1.0), 1)
