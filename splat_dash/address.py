"""Addresses of pages: every link on every page is built here."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from splat_dash.query import EVERYTHING, WHOLE_MAP, ListQuery, MapQuery

FORMS = {"csv": "CSV", "json": "JSON", "md": "Markdown"}
"""Download formats of a table: the suffix of its address, and the name of the format."""


@dataclass(frozen=True, slots=True)
class Files:
    """Download addresses of the tables of a page. path: `/api/features/45/tokens`. parameters: those of the page's address."""

    path: str
    parameters: str = ""

    def of(self, table: str, form: str) -> str:
        """`/api/features/45/tokens/tokens.csv`."""
        return _with(f"{self.path}/{quote(table, safe='')}.{form}", self.parameters)

    def by_format(self, table: str) -> dict[str, str]:
        """Addresses of a table by the name of the format."""
        return {called: self.of(table, form) for form, called in FORMS.items()}


def list_url(query: ListQuery = EVERYTHING) -> str:
    """`/features?sort=-density`."""
    return _with("/features", query.as_text())


def of_list_file(query: ListQuery = EVERYTHING) -> str:
    """`/api/features.csv?sort=-density`: the whole list as a file."""
    return _with("/api/features.csv", query.as_text())


def feature_url(feature_id: int, query: ListQuery = EVERYTHING, **state: str) -> str:
    """`/f/845?list=sort%3D-density&tab=tokens`."""
    kept = {name: value for name, value in {"list": query.as_text(), **state}.items() if value}
    return f"/f/{feature_id}" + (f"?{urlencode(kept)}" if kept else "")


def files_of_feature(feature_id: int, part: str, parameters: str = "") -> Files:
    """The tables of one part of a feature's page."""
    return Files(f"/api/features/{feature_id}/{part}", parameters)


def of_map(query: MapQuery = WHOLE_MAP, **changed: str) -> str:
    """`/map?by=coactivation&cluster=3`, with some parameters changed."""
    return _with("/map", query.as_text(**changed))


def of_comparison(left: int, right: int) -> str:
    """`/compare?f=1,2`."""
    return f"/compare?f={left},{right}"


def of_sample(sample_id: int) -> str:
    """`/whatif?sample=17`: its build, to be edited."""
    return f"/whatif?sample={sample_id}"


def of_token(token: str) -> str:
    """`/tokens/swim_speed_up_21`."""
    return f"/tokens/{quote(token, safe='')}"


def of_weapon(key: str) -> str:
    """`/weapons/40`."""
    return f"/weapons/{quote(key, safe='')}"


def _with(path: str, parameters: str) -> str:
    return f"{path}?{parameters}" if parameters else path
