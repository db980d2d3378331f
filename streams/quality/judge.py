"""What a window of counts says about one feature, compared with its reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from schemas.alert import Evidence
from schemas.dictionary import Category
from streams.episodes import SEVERITIES, Alarm, Severity
from streams.quality import divergence
from streams.quality.divergence import Divergence
from streams.quality.quality_rules import QualityRules
from streams.quality.reference import Reference
from streams.quality.tally import Counts

MODERATE: Final = 0.1
LARGE: Final = 0.25
"""PSI beyond what chance gives: a large shift opens an episode, a moderate one keeps it open (Siddiqi, Credit
risk scorecards, 2006)."""
NEARER: Final = 2 / 3
"""A season that came before is known: what moved is nearer to it than this share of the way to the reference."""
LEAST_RISE: Final = 0.01
"""Shares that rise by less are left alone, however certain the rise."""
MOVED: Final = frozenset({"values", "unseen", "mean"})
"""Signals of a world that moved, not of a feed that broke."""
DRIFT: Final = "features"
"""The family of all features whose values moved: one cause, one episode."""
TOLD: Final = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was."""

    feature: str
    """Empty: all that comes in."""
    signal: str
    """`values`, `mean`, `missing`, `range`, `new_level`, `unseen`, `stale`, `volume`, `rejected`, `schema`."""
    severity: Severity
    direction: Literal["up", "down", "none"]
    evidence: Evidence
    text: str

    @property
    def family(self) -> str:
        """Whose episode it joins: that of all values that move, its feature's, or its own."""
        if self.signal in MOVED:
            return DRIFT
        return f"feature.{self.feature}" if self.feature else f"requests.{self.signal}"

    @property
    def alarm(self) -> Alarm:
        """The same as an alarm: the worst leads its episode."""
        rank = (-SEVERITIES.index(self.severity),)
        return Alarm(
            self.signal, self.direction, self.severity, rank, self.evidence, self.text, feature=self.feature
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """One feature in one window.

    Attributes
    ----------
    judged
        False: there were too few values.
    psi, js
        Against the reference.
    """

    feature: str
    judged: bool
    present: int
    missing: float
    """Shares of the requests, 0 to 1."""
    outside: float
    unseen: float
    mean: float | None
    """Of the values, in the feature's unit; None for texts and without values."""
    psi: Divergence | None = None
    js: Divergence | None = None
    season: float | None = None
    """PSI beyond chance against the same season a year ago; None before there was one."""
    findings: tuple[Finding, ...] = field(default=())


def limit(psi: Divergence) -> float:
    """Return what a PSI beyond chance must exceed to count as moved."""
    return max(MODERATE, psi.limit - psi.mean)


def season_psi(
    reference: Reference, counts: Counts, then: Sequence[Counts], rules: QualityRules
) -> float | None:
    """Return the PSI beyond chance between a window and the same season a year ago; None for too few values.

    Parameters
    ----------
    then
        Counts of the season in several cuts, since a window may lie across two months; the nearest counts.
    """
    seasons = [
        Reference.of(reference.feature, each)
        for each in then
        if min(counts.present, each.present) >= rules.least
    ]
    found = [
        divergence.psi(each.coarse(each.counts.bins), each.coarse(counts.bins), 0.5).excess
        for each in seasons
    ]
    return min(found, default=None)


def came_before(reference: Reference, counts: Counts, then: Sequence[Counts], rules: QualityRules) -> bool:
    """Whether values that moved are more like those of the same season a year ago than like the reference."""
    season = season_psi(reference, counts, then, rules)
    if season is None or not reference.present:
        return False
    base, recent = reference.coarse(reference.counts.bins), reference.coarse(counts.bins)
    return season < NEARER * divergence.psi(base, recent, 0.5).excess


def judge(
    reference: Reference, counts: Counts, rules: QualityRules, alpha: float, then: Sequence[Counts] = ()
) -> Verdict:
    """Compare a window of one feature with its reference.

    Parameters
    ----------
    reference
        The feature's.
    counts
        Of the window.
    alpha
        Probability of a false alarm that each test may have.
    then
        Counts of the same season a year ago: what came then has not moved.
    """
    feature, present = reference.feature, counts.present
    requests = present + counts.missing
    unseen = 0 if reference.numeric else reference.unseen(counts.bins)
    fields = {
        "feature": feature.name,
        "present": present,
        "missing": counts.missing / max(requests, 1),
        "outside": counts.outside / max(present, 1),
        "unseen": unseen / max(present, 1),
        "mean": counts.total / present if reference.numeric and present else None,
    }
    found = list(_shares(reference, counts, unseen, alpha, then))
    if min(present, reference.present) < rules.least:
        return Verdict(**fields, judged=False, findings=tuple(found))  # type: ignore[arg-type]  # named above
    if feature.personal_data != "none":  # of tokens it is only asked whether they are new
        return Verdict(**fields, judged=True, findings=tuple(found))  # type: ignore[arg-type]  # named above
    base, recent = reference.coarse(reference.counts.bins), reference.coarse(counts.bins)
    psi = divergence.psi(base, recent, alpha)
    js = divergence.jensen_shannon(base, recent, alpha)
    # Where bins are nearly empty the one is too lively, and the other one bounded: both must be beyond chance.
    moved = feature.watch and psi.excess > MODERATE and psi.value > psi.limit and js.value > js.limit
    season = season_psi(reference, counts, then, rules)
    if moved and not (season is not None and season < NEARER * psi.excess):
        found.append(_moved(reference, counts, psi))
    more: dict[str, Any] = {"psi": psi, "js": js, "season": season, "findings": tuple(found)}
    return Verdict(**fields, judged=True, **more)  # type: ignore[arg-type]  # named above


def _shares(
    reference: Reference, counts: Counts, unseen: int, alpha: float, then: Sequence[Counts]
) -> Iterator[Finding]:
    feature, base = reference.feature, reference.counts
    present, base_present = counts.present, reference.present
    requests, base_requests = present + counts.missing, base_present + base.missing
    if feature.max_missing is not None:
        chance = divergence.above(counts.missing, requests, feature.max_missing)
        if chance < alpha and requests:
            yield _share(feature.name, "missing", counts.missing, requests, feature.max_missing, 0)
    else:
        yield from _risen(
            feature.name, "missing", counts.missing, requests, base.missing, base_requests, alpha
        )
    outside = "new_level" if isinstance(feature, Category) else "range"
    yield from _risen(feature.name, outside, counts.outside, present, base.outside, base_present, alpha)
    if not reference.numeric and not getattr(feature, "levels", ()) and base_present:
        # What will come that never came: about as much as came once (Good, Biometrika 40, 1953).
        once = sum(count == 1 for count in base.bins.values()) / base_present
        allowed = 2 * once + LEAST_RISE
        chance = divergence.above(unseen, present, min(allowed, 1.0))
        before = set(base.bins).union(*(each.bins for each in then))
        new = sum(n for key, n in counts.bins.items() if key not in before)
        known = new < NEARER * unseen
        if feature.watch and chance < alpha and unseen / present > allowed + 5 * LEAST_RISE and not known:
            yield _share(feature.name, "unseen", unseen, present, once, base_present)


def _risen(
    name: str, signal: str, hits: int, n: int, base_hits: int, base_n: int, alpha: float
) -> Iterator[Finding]:
    if not n or not base_n or hits / n - base_hits / base_n < LEAST_RISE:
        return
    chance = divergence.rise(hits, n, base_hits, base_n)
    if chance < alpha:
        yield _share(name, signal, hits, n, base_hits / base_n, base_n)


WORDS: Final = {
    "missing": "without a value",
    "range": "outside the dictionary's range",
    "new_level": "with a level outside the dictionary",
    "unseen": "with a value unknown to the reference",
}


def _share(name: str, signal: str, hits: int, n: int, was: float, base_n: int) -> Finding:
    share = hits / n
    # Of what the dictionary promises each breach counts; without a promise what moves is information.
    promised = signal in {"range", "new_level"} or (signal == "missing" and not base_n)
    broken = share - was > 0.5 and signal != "unseen"
    severity: Severity = "critical" if broken else "warning" if promised else "info"
    evidence = Evidence("Chernoff bound", "share", share, was, was, base_n, share, n)
    text = f"{share:.1%} of requests come {WORDS[signal]} in {name}, before {was:.1%}"
    return Finding(name, signal, severity, "up", evidence, text)


def _moved(reference: Reference, counts: Counts, psi: Divergence) -> Finding:
    name, base = reference.feature.name, reference.counts
    n, m = counts.present, reference.present
    was = base.total / m if reference.numeric else None
    now = counts.total / n if reference.numeric else None
    evidence = Evidence("PSI", "PSI without its null mean", psi.excess, limit(psi), was, m, now, n)
    direction: Literal["up", "down", "none"] = "none"
    if was is not None and now is not None:
        direction = "up" if now > was else "down"
        unit = f" {reference.feature.unit}" if reference.feature.unit else ""
        change = f"mean {was:.3g}{unit}, now {now:.3g}"
    else:
        change = _most_changed(base.bins, m, counts.bins, n)
    return Finding(name, "values", "info", direction, evidence, f"PSI of {name} {psi.excess:.2f} ({change})")


def _most_changed(was: Mapping[str, int], m: int, bins: Mapping[str, int], n: int) -> str:
    key = max(sorted({*was, *bins}), key=lambda each: abs(bins.get(each, 0) / n - was.get(each, 0) / m))
    return f"{key!r}: {was.get(key, 0) / m:.0%} of the values, now {bins.get(key, 0) / n:.0%}"


def together(findings: Sequence[Finding], *, opened: bool) -> Finding | None:
    """Return one finding for all features whose values moved: the world moves as a whole, and that is one cause.

    Parameters
    ----------
    findings
        Those with the signals of `MOVED`.
    opened
        Whether an episode about it is open: then moderate shifts keep it open.
    """
    telling = [
        each for each in findings if opened or each.signal != "values" or (each.evidence.value or 0) > LARGE
    ]
    if not telling:
        return None
    # Features with a PSI come first, by falling PSI.
    most = sorted(
        findings, key=lambda each: (each.signal != "values", -(each.evidence.value or 0), each.feature)
    )
    texts = "; ".join(each.text for each in most[:TOLD])
    more = f"; and {len(most) - TOLD} more" if len(most) > TOLD else ""
    names = {each.feature for each in most}
    who = f"{len(names)} features" if len(names) > 1 else "one feature"
    text = f"The values of {who} have changed: {texts}{more}."
    return replace(most[0], text=text)
