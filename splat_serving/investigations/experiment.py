"""What an experiment is, which there are, and running one: a spec and a subject in, a `Result` out.

An experiment is a module of `splat_serving.investigations.experiments` that holds one `EXPERIMENT`; its name is the module's
name with dashes. A new one is a new file there, and command, help and tool for assistants follow from its spec.
"""

import importlib
import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from splat_assets.distribution import installed_version
from splat_assets.errors import InputError
from splat_assets.wording import unknown_name
from splat_serving.investigations import experiments
from splat_serving.investigations.results.result import Answer, Provenance, Result
from splat_serving.investigations.spec import Spec, checked_spec
from splat_serving.investigations.subject import Subject


@dataclass(frozen=True, slots=True)
class Experiment:
    """One kind of experiment. The first line of its help is the first line of the spec's docstring.

    answer: computes; it reads nothing but the subject and the spec. other_names: further names of options, by field.
    """

    spec: type[Spec]
    answer: Callable[[Subject, Any], Answer]
    other_names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One line on what it answers."""
        return (self.spec.__doc__ or "").strip().splitlines()[0]


def experiment_names() -> list[str]:
    """The names of all experiments, sorted."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(experiments.__path__))


def experiment(name: str) -> Experiment:
    """The experiment of that name; InputError offers the nearest ones."""
    known = experiment_names()
    if name not in known:
        raise InputError(unknown_name("experiment", name, known))
    module = importlib.import_module(f"{experiments.__name__}.{name.replace('-', '_')}")
    chosen: Experiment = module.EXPERIMENT
    return chosen


def spec_of(raw: dict[str, Any], named: str = "") -> Spec:
    """The validated specification of the experiment that it names; InputError."""
    name = raw.get("experiment")
    if not isinstance(name, str):
        raise InputError(f"{named}`experiment` is missing: the name of one of {', '.join(experiment_names())}")
    spec: Spec = checked_spec(experiment(name).spec, raw, named)
    return spec


def run(subject: Subject, spec: Spec, command: str = "") -> Result:
    """The result of an experiment, with its provenance. command: as it would be typed, for the record."""
    return answered(
        subject, spec.experiment, spec.model_dump(mode="json"), experiment(spec.experiment).answer, spec, command
    )


def answered(
    subject: Subject,
    kind: str,
    recorded: dict[str, Any],
    answer: Callable[[Subject, Any], Answer],
    spec: Any,
    command: str = "",
) -> Result:
    """An answer with its specification and its provenance."""
    began = time.perf_counter()
    computed = answer(subject, spec)
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
    return Result(kind=kind, spec=recorded, provenance=provenance, **dict(computed))
