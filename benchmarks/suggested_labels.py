"""Do suggested labels find what was planted, and nothing in noise? `python -m benchmarks.suggested_labels RUN` on a demo run.

Three measurements:

1. Planted concepts that the SAE represents: on the half of the builds that chooses no rules, some feature's firing agrees with
   the concept's rule with F1 >= 0.7. Recovered: the rule suggested for that feature holds on the same builds (Jaccard >= 0.8).
2. Planted concepts as ideal features: the concept's indicator with one firing in twenty lost and as many invented. Recovered as
   above. What no conjunction of three conditions says (lists, `or`) is told apart.
3. Permuted data: every feature's activations moved to random samples; the share of features that get a label.
"""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.rule_search import RuleSearch, Suggestion
from splat_assets.domain.concepts import AnyOf, Rule, WeaponIs, leaves, parse_rule
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.runs import open_run
from splat_assets.store.activations import Activations
from splat_assets.store.layout import DataRoot
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.subject import Subject

REPRESENTED = 0.7
RECOVERED = 0.8
Flags = npt.NDArray[np.bool_]


def main(name: str) -> None:
    """Measure on a run of the data root whose dataset has planted concepts."""
    root = DataRoot.from_environment()
    data = Path(open_run(root, name).config.inputs.data.path)
    concepts = json.loads((data.parent / "planted_concepts.json").read_text())["concepts"]
    subject = open_subject(name, root=root)
    search = RuleSearch(subject.builds)
    rules = {concept["name"]: parse_rule(concept["rule"]) for concept in concepts}
    _represented(subject, search, rules)
    _ideal(subject, search, rules)
    _permuted(subject, search)


def _represented(subject: Subject, search: RuleSearch, rules: dict[str, Rule]) -> None:
    held_out = ~search.library.train
    fires = np.stack([subject.dense(feature) > 0 for feature in range(subject.n_features)])
    n_represented = n_recovered = n_as_good = 0
    print("concept, its best feature, F1 with it, suggested rule, its F1, Jaccard with the planted rule")
    for name, rule in rules.items():
        holds = subject.builds.holds(rule)
        both = (fires[:, held_out] & holds[held_out]).sum(axis=1)
        f1 = 2 * both / np.maximum(fires[:, held_out].sum(axis=1) + holds[held_out].sum(), 1)
        feature = int(f1.argmax())
        found = search.suggest(subject.feature(feature), feature)
        agreement = _jaccard(subject, found, holds)
        represented = f1[feature] >= REPRESENTED
        n_represented += represented
        n_recovered += bool(represented and agreement >= RECOVERED)
        n_as_good += bool(found and found.score.f1 >= f1[feature] - 0.01)
        print(f"  {name}, {feature}, {f1[feature]:.3f}, {rule_as_text(found.rule) if found else 'none'}, "
              f"{found.score.f1 if found else 0:.3f}, {agreement:.3f}{' represented' if represented else ''}")  # fmt: skip
    print(f"represented {n_represented} of {len(rules)}; recovered {n_recovered} of those")
    print(
        f"the suggested rule describes the best feature at least as well as the planted one: {n_as_good} of {len(rules)}"
    )


def _ideal(subject: Subject, search: RuleSearch, rules: dict[str, Rule]) -> None:
    rng = np.random.default_rng(0)
    counts = {True: [0, 0], False: [0, 0]}
    for name, rule in rules.items():
        holds = subject.builds.holds(rule)
        found = search.suggest(noisy(holds, rng))
        agreement = _jaccard(subject, found, holds)
        sayable = not any(isinstance(part, AnyOf) for part in _parts(rule)) and len(leaves(rule)) <= 3
        counts[sayable][0] += 1
        counts[sayable][1] += bool(found and found.suggested and agreement >= RECOVERED)
        print(f"  ideal {name}: {rule_as_text(found.rule) if found else 'none'}, Jaccard {agreement:.3f}, "
              f"{'' if sayable else 'not sayable in three conditions'}")  # fmt: skip
    print(f"ideal features recovered: {counts[True][1]} of {counts[True][0]} that three conditions can say, "
          f"{counts[False][1]} of {counts[False][0]} others")  # fmt: skip


def _permuted(subject: Subject, search: RuleSearch) -> None:
    rng = np.random.default_rng(1)
    suggested = asked = 0
    for feature in range(subject.n_features):
        found = subject.feature(feature)
        ids = np.sort(rng.choice(subject.n_samples, found.n_active, replace=False))
        suggestion = search.suggest(Activations(ids, rng.permutation(found.values)), feature)
        asked += suggestion is not None
        suggested += bool(suggestion and suggestion.suggested)
    print(f"permuted: {suggested} of {subject.n_features} features get a label ({asked} fire often enough to be asked)")


def noisy(holds: Flags, rng: np.random.Generator, share: float = 0.05) -> Activations:
    """The indicator of a concept as a feature: a share of its firings lost, and as many invented elsewhere."""
    fires = holds.copy()
    n = int(round(share * holds.sum()))
    fires[rng.choice(np.flatnonzero(holds), n, replace=False)] = False
    fires[rng.choice(np.flatnonzero(~holds), n, replace=False)] = True
    return Activations.from_dense(np.where(fires, 1 + rng.random(holds.size), 0).astype(np.float32))


def _jaccard(subject: Subject, found: Suggestion | None, holds: Flags) -> float:
    if found is None:
        return 0.0
    said = subject.builds.holds(found.rule)
    return float((said & holds).sum() / max(1, int((said | holds).sum())))


def _parts(rule: Rule) -> list[object]:
    """The rule, what it is made of, and lists of weapons as what they are: an `or`."""
    inner = getattr(rule, "rules", None) or ([rule.rule] if hasattr(rule, "rule") else [])
    found: list[object] = [rule, *(part for one in inner for part in _parts(one))]
    return [AnyOf(()) if isinstance(part, WeaponIs) and len(part.one_of) > 1 else part for part in found]


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "demo")
