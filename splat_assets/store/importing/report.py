"""The defects of an imported folder and how each was handled: one sentence each, kept beside the imported rows."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from splat_assets.store.files import write_json
from splat_assets.text.wording import counted

_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect. where: the file or folder. wrong: the defect. done: how it was handled."""

    where: str
    wrong: str
    done: str

    def __str__(self) -> str:
        return f"{self.where}: {self.wrong}; {self.done}"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was imported from where, with all defects.

    source_fingerprint: sha256 over the names and sizes of the files that were read, not over their bytes.
    """

    source: str
    layout: str
    source_fingerprint: str
    n_samples: int
    n_features: int
    nnz: int
    n_shards: int
    findings: tuple[Finding, ...]

    def save(self, path: Path) -> None:
        """Write the report as JSON."""
        write_json(path, {"format_version": _FORMAT_VERSION, **asdict(self)})

    def lines(self) -> Iterable[str]:
        """The report as text."""
        yield (
            f"{self.source} ({self.layout}): {counted(self.n_samples, 'samples')} x {counted(self.n_features, 'features')}, "
            f"{counted(self.nnz, 'activations')} in {counted(self.n_shards, 'shards')}"
        )
        yield counted(len(self.findings), "findings") if self.findings else "no defects"
        for finding in self.findings:
            yield f"- {finding}"
