"""What an experiment is, which there are, and running one: a spec and a subject in, a `Result` out.

A module of `splat_serving.investigations.experiments` lists its experiments in `EXPERIMENTS`. A new one is a new entry
there, or a new file, and command, help and tool for assistants follow from its spec.
"""

import importlib
import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from splat_assets.distribution import installed_version
from splat_assets.errors import InputError
from splat_assets.text.wording import unknown_name
from splat_serving.investigations import experiments
from splat_serving.investigations.results.result import Answer, Provenance, Result
from splat_serving.investigations.spec import Spec, checked_spec
from splat_serving.investigations.subject import Subject


@dataclass(frozen=True, slots=True)
class Experiment:
    """One kind of experiment: listed in `EXPERIMENTS` of its module, it becomes a command, a page and a tool for assistants.

    Args:
        spec: Its settings; the default of the field `experiment` is its name, the first line of the docstring its summary.
        answer: Computes. It must read nothing but subject and spec, and give the same answer for the same spec, seed
            included; it may be called in several threads at once. It raises SplatError for what cannot be computed.
        other_names: Further names of options, by field: `{"n_builds": ("--max-examples",)}`.

    Examples:
        >>> from splat_serving.investigations.spec import FeatureSpec
        >>> class Mean(FeatureSpec):
        ...     "Mean activation of a feature over all samples."
        ...     experiment: str = "mean"
        >>> def answer(subject: Subject, spec: Mean) -> Answer:
        ...     return Answer(title="Mean", facts={"mean": float(subject.dense(spec.feature_id).mean())})
        >>> Experiment(Mean, answer).name, Experiment(Mean, answer).summary
        ('mean', 'Mean activation of a feature over all samples.')
    """

    spec: type[Spec]
    answer: Callable[[Subject, Any], Answer]
    other_names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The default of the spec's field `experiment`, `family-sweep`."""
        return str(self.spec.model_fields["experiment"].default)

    @property
    def summary(self) -> str:
        """One line on what it answers."""
        return (self.spec.__doc__ or "").strip().splitlines()[0]


@cache
def _experiments() -> dict[str, Experiment]:
    """All experiments by name, sorted."""
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__, f"{experiments.__name__}.")]
    known = [one for name in names for one in importlib.import_module(name).EXPERIMENTS]
    return {one.name: one for one in sorted(known, key=lambda one: one.name)}


def experiment_names() -> list[str]:
    """The names of all experiments, sorted."""
    return list(_experiments())


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        InputError: For an unknown name; it offers the nearest ones.

    Examples:
        >>> experiment("shuffle-null").spec.__name__
        'ShuffleNull'
    """
    known = _experiments()
    if name not in known:
        raise InputError(unknown_name("experiment", name, known))
    return known[name]


def spec_of(raw: dict[str, Any], named: str = "") -> Spec:
    """The validated specification of the experiment that it names; InputError."""
    name = raw.get("experiment")
    if not isinstance(name, str):
        raise InputError(f"{named}`experiment` is missing: the name of one of {', '.join(experiment_names())}")
    spec: Spec = checked_spec(experiment(name).spec, raw, named)
    return spec


def run(subject: Subject, spec: Spec, command: str = "") -> Result:
    """The result of an experiment, with its provenance.

    Args:
        spec: From `spec_of`, or an instance of the experiment's own class.
        command: As it would be typed, for the record.

    Raises:
        SplatError: What the experiment raises: FeatureNotFoundError, NotComputedError without a model or a table, InputError.

    Examples:
        >>> result = run(subject, spec_of({"experiment": "split-half", "feature_id": 1}))
        >>> result.kind, result.spec["n_splits"]
        ('split-half', 20)
    """
    return answered(subject, spec, experiment(spec.experiment).answer, command)


def answered(subject: Subject, spec: Spec, answer: Callable[[Subject, Any], Answer], command: str = "") -> Result:
    """The answer to a specification, with its provenance."""
    return recorded(subject, spec.experiment, spec.model_dump(mode="json"), lambda: answer(subject, spec), command)


def recorded(
    subject: Subject, kind: str, spec: dict[str, Any], compute: Callable[[], Answer], command: str = ""
) -> Result:
    """An answer with its specification and its provenance."""
    began = time.perf_counter()
    computed = compute()
    about = subject.about
    provenance = Provenance(
        source=subject.source,
        run=about.name,
        store_version=about.version,
        fingerprints={name: value for name, value in about.provenance.items() if isinstance(value, str)},
        splat_version=installed_version(),
        command=command,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - began, 3),
    )
    return Result(kind=kind, spec=spec, provenance=provenance, **dict(computed))
