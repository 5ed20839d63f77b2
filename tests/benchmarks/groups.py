"""Groups of unknown faces, and suggestions: how pure and whole groups are, what the order of questions finds, and time.

``python -m tests.benchmarks groups FILE.npz``, with numbers of labelled faces as in `thresholds`; faces in the sets of
`NOT_PEOPLE` are left out. Nobody of the same photo is in such a file, and no child twice: what two faces of one photo
are, and how many groups a child falls into, is not measured.

**Purity**: of the faces in groups, those that are of the person who has most faces of their group. A group has two
faces or more. **Groups a person**: over the people with two faces or more. **Grouped**: of the faces of these people,
those that are in groups; **in the largest**: in the person's largest group. Beside the groups of the rule, those of
connected components (two faces are linked that match by the rules of a question) and of Chinese whispers on the same
links (Biemann 2006, 20 rounds), and of mean linkage of all faces at once: the two groups that are most alike become one
until none are as alike as the threshold. Faces of small children are less alike there as by the rule, or as others.

**Order**: the faces come in `ORDERS` random orders, one by one. Agreement is the F-measure of pairs of faces of one
group, against those in the order of the file.

**Suggestions**: users are played who answer for people with `ANSWERED` faces or more, beginning with one clear face of
the person, two of them in turn. After each answer the order is worked out anew, but for "one list". Found is the part
of the person's faces that are confirmed, or match by the rules of a question.

**Time and memory** in made-up galleries (`library`): all faces are looked at, and written, as the daemon does while it
has nothing else to do, without its rests; then faces that come.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facewatchd.expectation import calibration
from facewatchd.indexing.group_faces import BATCH, GallerySource
from facewatchd.people import suggesting
from facewatchd.people.grouping import CHILDREN, Rule
from facewatchd.people.groups import ALONE, Groups
from facewatchd.store import references
from facewatchd.store.catalog_rows import ShownOn
from facewatchd.store.gallery import Gallery
from facewatchd.store.index import Ids, Upkeep
from facewatchd.store.scoring import are_copies
from facewatchd.values import Quality
from tests.benchmarks import library as made
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median
from tests.benchmarks.thresholds import Faces, read

ORDERS = 10
ANSWERED = 10
ASKED = (0, 5, 10, 20)
LINKAGES = (
    ("children as others", 1.0, 0.0),
    ("at the threshold", 1.0, CHILDREN),
    ("at 1.2 times the threshold", 1.2, CHILDREN),
)
"""Times the threshold, and what faces of small children ask for beyond it."""
LEFT_OUT = (0.05, 0.2)
"""Shares of the faces that make no group because of the detector's score: what a limit of it would do."""
PURE = 0.98
"""What is asked of the groups."""

Labels = NDArray[np.int64]


def run(options: Options) -> Iterator[Report]:
    for faces in read(options.numbers):
        if faces.threshold is not None:
            known = _Known.of(faces.of(faces.are_people), options)
            yield _purity(known, options)
            yield _suggestions(known, options)
    yield _time(options)


@dataclass(frozen=True)
class _Known:
    """Labelled faces, with what the model's pack says of them."""

    faces: Faces
    sizes: NDArray[np.int64]
    scores: NDArray[np.float32]
    """The detector's."""
    rule: Rule
    children: NDArray[np.bool_]

    @classmethod
    def of(cls, faces: Faces, options: Options) -> _Known:
        assert faces.threshold is not None
        assert faces.known is not None
        sides: list[NDArray[np.int64]] = []
        scores: list[NDArray[np.float32]] = []
        for file in options.numbers:
            with np.load(file) as arrays:
                kept = ~np.isin(arrays[f"{faces.detector}_set"], ("masked",))
                sides.append(arrays[f"{faces.detector}_side"][kept].astype(np.int64))
                scores.append(arrays[f"{faces.detector}_score"][kept])
        probe = calibration.of(faces.pack, faces.rows.shape[1])
        rule = Rule(faces.threshold, faces.known.quality)
        return cls(faces, np.concatenate(sides), np.concatenate(scores), rule, probe.are_children(faces.rows))

    def scored(self, share: float) -> _Known:
        """The same, where that share of the faces, of the least score, makes no group: as if they were small."""
        return replace(self, sizes=np.where(self.scores < np.quantile(self.scores, share), 0, self.sizes))

    @property
    def quality(self) -> Quality:
        assert self.rule.quality is not None
        return self.rule.quality


class _Arrays:
    """A source of `Groups`: row i is face i + 1. Only faces that came can be found."""

    def __init__(self, known: _Known) -> None:
        self._known = known
        self._alike = known.faces.similarities
        self.came = np.zeros(len(known.sizes), np.bool_)

    def embeddings(self, faces: Sequence[int]) -> tuple[Ids, NDArray[np.float32]]:
        ids = np.array(sorted(faces), np.int64)
        return ids, self._known.faces.rows[ids - 1]

    def nearest(self, embedding: NDArray[np.float32], threshold: float, most: int) -> Ids:
        alike = np.where(self.came, self._known.faces.rows @ embedding, -1.0)
        order = np.argsort(-alike)[:most]
        return order[alike[order] >= threshold] + 1

    def are_children(self, embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
        probe = calibration.of(self._known.faces.pack, embeddings.shape[1])
        return probe.are_children(embeddings)


def _grouped(known: _Known, order: NDArray[np.int64]) -> Labels:
    """The group of each face, where they come one by one in an order; negative numbers for faces alone."""
    source = _Arrays(known)
    groups = Groups(known.rule, source)
    every = np.arange(1, len(known.sizes) + 1)
    for at in order.tolist():
        source.came[at] = True
        which = every[[at]]
        groups.add(ShownOn(which, which, known.faces.norms[[at]], known.sizes[[at]]))
        groups.place(at + 1)
    groups.publish()
    now, labels = groups.now(), -every
    labels[now.faces - 1] = now.groups
    return labels


def _links(known: _Known) -> NDArray[np.bool_]:
    """Whether each two faces match by the rules of a question. Shape (n, n)."""
    extras = known.quality.extras(known.faces.norms)
    links = known.faces.similarities - extras[:, None] - extras[None] >= known.rule.threshold
    told = known.faces.norms >= known.quality.floor
    linked: NDArray[np.bool_] = links & told[:, None] & told[None]
    np.fill_diagonal(linked, False)
    return linked


def _components(links: NDArray[np.bool_]) -> Labels:
    labels = np.arange(len(links))
    while True:
        lowest = np.minimum(labels, np.where(links, labels[None], len(links)).min(axis=1))
        if (lowest == labels).all():
            return labels
        labels = lowest


def _whispers(links: NDArray[np.bool_], alike: NDArray[np.float32]) -> Labels:
    labels, rng = np.arange(len(links)), np.random.default_rng(1)
    for _ in range(20):
        for at in rng.permutation(len(links)).tolist():
            near = np.flatnonzero(links[at])
            if len(near):
                labels[at] = np.bincount(labels[near], weights=alike[at, near]).argmax()
    return labels


def _mean_linkage(known: _Known, times: float, children: float) -> Labels:
    """``times``: the threshold. ``children``: what two faces of small children ask for beyond that, in thresholds."""
    threshold, extras = known.rule.threshold, known.quality.extras(known.faces.norms)
    asked = extras[:, None] + extras[None] + children * threshold * (known.children[:, None] & known.children[None])
    mean = (known.faces.similarities - asked).astype(np.float32)
    told = known.faces.norms >= known.quality.floor
    mean[~(told[:, None] & told[None])] = -np.inf
    np.fill_diagonal(mean, -np.inf)
    labels, sizes = np.arange(len(mean)), np.ones(len(mean), np.float32)
    while True:
        one, other = divmod(int(mean.argmax()), len(mean))
        if mean[one, other] < times * threshold:
            return labels
        both = (sizes[one] * mean[one] + sizes[other] * mean[other]) / (sizes[one] + sizes[other])
        both[[one, other]] = -np.inf
        mean[one], mean[:, one], mean[other], mean[:, other] = both, both, -np.inf, -np.inf
        sizes[one] += sizes[other]
        labels[labels == other] = one


@dataclass(frozen=True)
class _Figures:
    purity: float
    wrong: int
    groups: float
    grouped: float
    largest: float

    @classmethod
    def of(cls, labels: Labels, people: NDArray[np.int64]) -> _Figures:
        _, at, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        counts: dict[int, dict[int, int]] = {}
        for group, person in zip(at.tolist(), people.tolist(), strict=True):
            if sizes[group] > 1:
                of_group = counts.setdefault(group, {})
                of_group[person] = of_group.get(person, 0) + 1
        best = sum(max(each.values()) for each in counts.values())
        every = sum(sum(each.values()) for each in counts.values())
        shares: dict[int, list[int]] = {}
        for each in counts.values():
            for person, count in each.items():
                shares.setdefault(person, []).append(count)
        who, many = np.unique(people, return_counts=True)
        several = {int(person): int(count) for person, count in zip(who, many, strict=True) if count > 1}
        own = {person: shares.get(person, [0]) for person in several}
        return cls(
            best / max(every, 1),
            every - best,
            float(np.mean([sum(count > 0 for count in each) for each in own.values()])),
            sum(map(sum, own.values())) / sum(several.values()),
            float(np.mean([max(own[person]) / count for person, count in several.items()])),
        )

    def row(self) -> tuple[float, ...]:
        return self.purity, self.wrong, self.groups, self.grouped, self.largest


def _agreement(one: Labels, other: Labels) -> float:
    """The F-measure of the pairs of one group."""
    ours, theirs = one[:, None] == one, other[:, None] == other
    both, pairs = int((ours & theirs).sum()) - len(one), int(ours.sum()) + int(theirs.sum()) - 2 * len(one)
    return 2 * both / max(pairs, 1)


def _purity(known: _Known, options: Options) -> Report:
    faces = known.faces
    columns = ["groups of", "purity", "wrong faces", "groups a person", "grouped", "in the largest", "agreement"]
    report = Report(f"Groups: {faces.name}", columns)
    links = _links(known)
    report.row("connected components", *_Figures.of(_components(links), faces.people).row(), "")
    report.row("Chinese whispers", *_Figures.of(_whispers(links, faces.similarities), faces.people).row(), "")
    for words, times, children in LINKAGES:
        report.row(
            f"mean linkage, {words}", *_Figures.of(_mean_linkage(known, times, children), faces.people).row(), ""
        )
    in_order = _grouped(known, np.arange(len(known.sizes)))
    figures = _Figures.of(in_order, faces.people)
    report.row("the rule", *figures.row(), 1.0)
    orders = [np.random.default_rng(seed).permutation(len(known.sizes)) for seed in range(options.rounds(ORDERS))]
    played = [_grouped(known, order) for order in orders]
    worst = min((_Figures.of(labels, faces.people) for labels in played), key=lambda each: each.purity)
    agreements = [_agreement(in_order, labels) for labels in played]
    report.row("the rule, worst of the random orders", *worst.row(), min(agreements))
    middle = np.median([_Figures.of(labels, faces.people).row() for labels in played], axis=0)
    report.row("the rule, median of them", *middle.tolist(), median(agreements))
    sizes = np.bincount(in_order[in_order > ALONE])
    large = np.where(np.isin(in_order, np.flatnonzero(sizes >= 3)), in_order, -np.arange(1, len(in_order) + 1))
    report.row("the rule, groups of three or more", *_Figures.of(large, faces.people).row(), "")
    for share in LEFT_OUT:
        labels = _grouped(known.scored(share), np.arange(len(known.sizes)))
        figures, agreement = _Figures.of(labels, faces.people), _agreement(in_order, labels)
        report.row(f"the rule, {share:.0%} of least score make no group", *figures.row(), agreement)
    people = np.unique(faces.people, return_counts=True)[1]
    report.notes.append(
        f"{len(faces.people):,} faces of {len(people):,} people, {int((people > 1).sum())} with several."
    )
    report.check(f"purity of {faces.name}", worst.purity, PURE, at_least=True)
    return report


# Suggestions


@dataclass
class _Session:
    """A played user, who answers for one person."""

    known: _Known
    labels: Labels
    confirmed: list[int]
    rejected: list[int]
    asked: int = 0
    """Answers,"""
    yes: int = 0
    """and those that were yes."""

    def spare(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """What each face has to spare, and whether a question finds it."""
        rows, norms, threshold = self.known.faces.rows, self.known.faces.norms, self.known.rule.threshold
        own = np.array(self.confirmed)
        same = references.same_picture(threshold)
        chosen = own[references.different(rows[own], norms[own], same)]
        asks = threshold + references.extra(len(chosen), threshold) + self.known.quality.extras(norms[chosen])
        similarities = rows @ rows[chosen].T
        spare = (similarities - asks).max(axis=1) - self.known.quality.extras(norms)
        found = (spare >= 0) & (norms >= self.known.quality.floor)
        if self.rejected:
            found &= ~are_copies(rows, similarities.max(axis=1), rows[self.rejected], same)
        found[self.rejected], found[self.confirmed] = False, True
        return spare.astype(np.float32), found


Order = Callable[[_Session, NDArray[np.float32], NDArray[np.bool_], NDArray[np.intp]], int]
"""Returns the face that the user is asked about, among some that may be the person's."""


def _most_alike(_: _Session, spare: NDArray[np.float32], __: NDArray[np.bool_], open_: NDArray[np.intp]) -> int:
    return int(open_[spare[open_].argmax()])


def _least_sure(_: _Session, spare: NDArray[np.float32], __: NDArray[np.bool_], open_: NDArray[np.intp]) -> int:
    return int(open_[np.abs(spare[open_]).argmin()])


def _teaching(session: _Session, spare: NDArray[np.float32], found: NDArray[np.bool_], open_: NDArray[np.intp]) -> int:
    return _list(session, spare, found, open_)[0]


class _OneList:
    """The user answers the list that was there at the first question; where it is at its end, the most alike."""

    def __init__(self) -> None:
        self._left: list[int] = []

    def __call__(
        self, session: _Session, spare: NDArray[np.float32], found: NDArray[np.bool_], open_: NDArray[np.intp]
    ) -> int:
        if not session.asked:
            self._left = _list(session, spare, found, open_)
        return self._left.pop(0) if self._left else _most_alike(session, spare, found, open_)


def _list(
    session: _Session, spare: NDArray[np.float32], found: NDArray[np.bool_], open_: NDArray[np.intp]
) -> list[int]:
    """The suggestions in their order; never empty."""
    known, labels = session.known, session.labels
    threshold = known.rule.threshold
    groups, mine = np.unique(labels[found & (labels > ALONE)], return_counts=True)
    sizes = np.array([np.count_nonzero(labels == group) for group in groups.tolist()])
    together = np.isin(labels, groups[2 * mine >= sizes]) if len(groups) else np.zeros(len(labels), np.bool_)
    pool = open_[(spare[open_] >= -suggesting.BELOW * threshold) | together[open_]]
    if not len(pool):
        return [_most_alike(session, spare, found, open_)]
    chances = suggesting.chance(spare[pool], threshold, together[pool])
    extras = known.quality.extras(known.faces.norms[pool])
    order = suggesting.order(known.faces.rows[pool], extras, spare[pool], chances, threshold)
    return [int(face) for face in pool[order]]


def _suggestions(known: _Known, options: Options) -> Report:
    columns = ["order", *(f"found after {count}" for count in ASKED), "yes", "strangers found"]
    report = Report(f"Suggestions: {known.faces.name}", columns)
    labels = _grouped(known, np.arange(len(known.sizes)))
    orders: dict[str, Order] = {
        "most alike first": _most_alike,
        "least sure first": _least_sure,
        "what teaches most": _teaching,
        "what teaches most, one list": _OneList(),
    }
    for name, order in orders.items():
        report.row(name, *_played(known, labels, order))
    report.notes.append("Means over the people; strangers that match after the last answer, a person.")
    del options
    return report


def _played(known: _Known, labels: Labels, order: Order) -> list[float]:
    people = known.faces.people
    numbers, counts = np.unique(people, return_counts=True)
    rng = np.random.default_rng(0)
    found: dict[int, list[float]] = {count: [] for count in ASKED}
    yes, strangers = [], []
    for person in numbers[counts >= ANSWERED].tolist():
        own = np.flatnonzero(people == person)
        clear = own[known.faces.norms[own] >= known.quality.clear]
        for first in rng.choice(clear, 2, replace=False).tolist():
            session = _Session(known, labels, [first], [])
            for count in range(ASKED[-1] + 1):
                spare, are_found = session.spare()
                if count in found:
                    found[count].append(np.count_nonzero(are_found[own]) / len(own))
                if count < ASKED[-1]:
                    _answer(session, spare, are_found, order, person)
            strangers.append(np.count_nonzero(are_found) - np.count_nonzero(are_found[own]))
            yes.append(session.yes / max(session.asked, 1))
    return [*(float(np.mean(found[count])) for count in ASKED), float(np.mean(yes)), float(np.mean(strangers))]


def _answer(session: _Session, spare: NDArray[np.float32], found: NDArray[np.bool_], order: Order, person: int) -> None:
    said = [*session.confirmed, *session.rejected]
    open_ = np.setdiff1d(np.flatnonzero(session.known.faces.norms >= session.known.quality.floor), said)
    face = order(session, spare, found, open_)
    is_person = bool(session.known.faces.people[face] == person)
    (session.confirmed if is_person else session.rejected).append(face)
    session.asked += 1
    session.yes += is_person


# Time


def _time(options: Options) -> Report:
    columns = [
        *("faces", "read at the start, s", "all, processor s", "a face, ms", "99 %, ms", "one more, ms"),
        *("memory, MB", "groups", "purity"),
    ]
    report = Report("Grouping made-up faces", columns)
    for count in options.faces:
        library = made.library(options, count)
        with library.opened() as gallery:
            gallery.index.maintain(Upkeep(threads=2))
            report.row(count, *_all(library, gallery))
    report.notes.append("Processor time of one thread, writing included; memory beside catalog and index.")
    return report


def _all(library: made.Library, gallery: Gallery) -> list[float]:
    none = np.zeros(0, np.bool_)
    source = GallerySource(gallery, lambda rows: np.resize(none, len(rows)))
    groups = Groups(Rule(made.MODEL.threshold), source)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    with gallery.catalog.reading() as reader:
        nothing = np.empty(0, np.int64)
        groups.load(reader.every_face(), nothing, nothing, 0)
    load = time.perf_counter() - started
    times: list[float] = []
    began = time.process_time()
    while faces := groups.unseen(BATCH):
        for face in faces:
            started = time.thread_time()
            groups.place(face)
            times.append(time.thread_time() - started)
        gallery.catalog.record_groups(groups.changes(), groups.last)
        groups.publish()
    took = time.process_time() - began
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    now = groups.now()
    with gallery.catalog.reading() as reader:
        shown = reader.contents_of(now.faces.tolist())
        paths = reader.copies(shown.contents.tolist())
    photos = [library.photo(paths[content][0]) for content in shown.contents.tolist()]
    people = library.people.identity[library.current[photos]].astype(np.int64)
    figures = _Figures.of(now.groups, people)
    last = times[-1000:]
    each = 1000 * sum(times) / len(times)
    high = 1000 * float(np.quantile(times, 0.99))
    return [load, took, each, high, 1000 * median(last), memory, len(np.unique(now.groups)), figures.purity]
