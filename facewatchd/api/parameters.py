"""The methods of the protocol: the parameters of each, its meaning in a sentence, and the names in its result."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from facewatchd.fields import (
    Choice,
    ChoiceOrWhole,
    Computed,
    Description,
    Flag,
    ListOf,
    Number,
    Object,
    Text,
    Whole,
    describe,
    optional,
    required,
)
from facewatchd.photos import crops
from facewatchd.server.params import Base64, DirectoryItem, PathItem, Paths, SplitPath
from facewatchd.store.scoring import Sort
from facewatchd.values import LISTED_STATES

MOST = 1000
"""Photos, faces by id, or directories, that one query may name."""
MOST_BYTES = 1 << 20
"""Bytes of the directories that one query may name, together."""
MOST_NUMBERS = 65536
"""Numbers of an embedding that are read at all; its length is compared with the model's afterwards."""
MOST_LISTED = 1000
"""Photos in one page: with the longest possible paths and reasons, half of the largest line."""
MAX_WAIT = 24 * 3600.0
"""Seconds."""
MOST_OTHERS = 50
"""WHOs in `with`, and in `without`: each is a search of its own."""
MOST_GROUPS = 200
"""Groups in one page."""
MOST_CURSOR = 100
"""Characters of a cursor that are read at all."""
MOST_SHOWN = 100_000
"""Photos that one request may say were seen."""
MOST_SENT = 1000
"""Changes in one reply of ``outbox``."""
LONGEST_POLL = 600.0
"""Seconds."""
MOST_MARKED = 10_000
"""Digests that one request may have sent again."""
MOST_NAME = 200
"""Characters in the name of a person, or of what an earlier call has seen."""

_ABSENT = Computed(lambda: None, "none")


@dataclass(frozen=True, slots=True)
class NoParameters:
    """Of a method that takes none."""


@dataclass(frozen=True, slots=True)
class Source:
    """One photo: a path on the daemon's machine, or bytes."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("path", "data")

    path: bytes | None = optional(SplitPath(), "A photo on the daemon's machine.", _ABSENT)
    data: bytes | None = optional(Base64(), "The bytes of a photo.", _ABSENT)


@dataclass(frozen=True, slots=True)
class FacesParameters(Source):
    """Of ``faces``."""

    ONE_OF: ClassVar = ("path", "data", "face_id")

    face_id: int | None = optional(Whole(), "A face of the catalog: the photo is the one that shows it.", _ABSENT)
    names: bool = optional(Flag(), "Whether each face has the name of the person that it is.", False)


@dataclass(frozen=True, slots=True)
class ThumbnailParameters(Source):
    """Of ``thumbnail``."""

    ONE_OF: ClassVar = ("face_id", "path", "data")

    face_id: int | None = optional(Whole(), "A face of the catalog.", _ABSENT)
    size: int = optional(
        Whole(crops.LEAST, crops.MOST), "Most pixels of the longer side. Nothing is scaled up.", crops.FACE
    )
    photo: bool = optional(Flag(), "With `face_id`: whether the whole photo is shown, and not the face.", False)
    box: tuple[int, ...] = optional(
        ListOf(Whole(), 4, least=4),
        "With `path` or `data`: a face on the photo, which is shown in its place. x, y, width and height in pixels of "
        "the upright photo.",
        (),
    )


@dataclass(frozen=True, slots=True)
class Who:
    """What a question names a person by."""

    ONE_OF: ClassVar = ("path", "data", "person", "face_id", "group", "embedding")

    path: bytes | None = optional(SplitPath(), "A photo on the daemon's machine.", _ABSENT)
    data: bytes | None = optional(Base64(), "The bytes of a photo.", _ABSENT)
    person: str | None = optional(Text(MOST_NAME), "The name of a person.", _ABSENT)
    face_id: int | None = optional(Whole(), "A face of the catalog.", _ABSENT)
    group: int | None = optional(Whole(), "A group of `unknown`: its unknown faces.", _ABSENT)
    embedding: tuple[float, ...] | None = optional(ListOf(Number(), MOST_NUMBERS), "The embedding of a face.", _ABSENT)
    face: int | str | None = optional(
        ChoiceOrWhole(("largest", "all")),
        "Which face of the photo, as `face`.",
        Computed(lambda: None, "`face`; in `with` and `without` the largest"),
    )


_WHOS = Object(Who, "an object with the fields of `who[]`")


@dataclass(frozen=True, slots=True)
class QueryParameters:
    """Of ``query``. None stands for the value of the configuration, or of the model."""

    ONE_OF: ClassVar = ("photos", "faces", "embedding", "who")

    photos: tuple[Source, ...] = optional(ListOf(Object(Source), MOST, least=1), "Photos of one person.", ())
    faces: tuple[int, ...] = optional(ListOf(Whole(), MOST, least=1), "Faces of one person, by `face_id`.", ())
    embedding: tuple[float, ...] = optional(
        ListOf(Number(), MOST_NUMBERS),
        "The embedding of a face: as many numbers as the model has dimensions.",
        (),
    )
    who: tuple[Who, ...] = optional(
        ListOf(_WHOS, MOST, least=1),
        "One person, named in one or several ways. Takes the place of the three above.",
        (),
    )
    with_: tuple[Who, ...] = optional(
        ListOf(_WHOS, MOST_OTHERS),
        "Only photos that show each of these as well. One face is never two of them: where several faces match, they "
        "are dealt out so that the least similarity is as high as it can be.",
        (),
    )
    without: tuple[Who, ...] = optional(
        ListOf(_WHOS, MOST_OTHERS),
        "Only photos on which none of these was seen, with faces of any size. A photo with a face that is too poor to "
        "tell, and so may be one of them, stays in the answer and is named in `undecided`.",
        (),
    )
    strict: bool = optional(Flag(), "Whether the photos in `undecided` are left out of the matches.", False)
    only: bool = optional(
        Flag(), "Only photos on which there is no other face of at least `min_size`; blurred ones count.", False
    )
    faces_min: int = optional(Whole(), "Only photos with at least so many faces of at least `min_size`.", 0)
    faces_max: int | None = optional(
        Whole(), "Only photos with at most so many faces of at least `min_size`.", Computed(lambda: None, "any number")
    )
    since: str | None = optional(Text(10), "Only photos taken in this year, month or day, or later.", _ABSENT)
    until: str | None = optional(Text(10), "Only photos taken in this year, month or day, or earlier.", _ABSENT)
    sort: str = optional(
        Choice(tuple(map(str, Sort))),
        "The order of the matches; with `-date` the newest are first.",
        str(Sort.SIMILARITY),
    )
    new: str | None = optional(
        Text(MOST_NAME),
        "Only photos that were not `seen` under this name. The answer then has `shown`, and `top` cuts no copies "
        "apart.",
        _ABSENT,
    )
    digests: bool = optional(
        Flag(),
        "Whether the answer has `digests`: the `shown` of all matches, of those above `top` too.",
        False,
    )
    skip: int = optional(Whole(), "Photos that are left out before the first one of the answer.", 0)
    years: bool = optional(
        Flag(),
        "Whether the answer has `years`: how many of all that match were taken in each year, and of how many of these "
        "only the file has that date.",
        False,
    )
    face: int | str = optional(
        ChoiceOrWhole(("largest", "all")),
        "Which face of each photo; a number counts left to right from 0. One that is too blurred to tell must be named "
        "by its number where there are others.",
        "largest",
    )
    top: int | None = optional(Whole(), "Most photos in the answer; 0 is all.", Computed(lambda: None, "as configured"))
    threshold: float | None = optional(
        Number(-1, 1),
        "Similarity from which a face matches. Blurred faces, and people who are known by many faces, need more, "
        "unless it is below the model's own.",
        Computed(lambda: None, "as configured, else the model's own"),
    )
    dirs: tuple[bytes, ...] = optional(
        Paths(MOST, MOST_BYTES, DirectoryItem()),
        "Only photos below one of these directories. `nas:/srv` is one of another machine; where none is, no other "
        "machine is asked.",
        (),
    )
    min_size: int = optional(Whole(), "Only faces with at least so many pixels on the box's shorter side.", 0)
    exact: bool = optional(Flag(), "Whether every face is compared, instead of asking the index.", False)
    collapse: bool = optional(
        Flag(), "Whether photos with the same bytes are one match, and so are the frames of a burst.", True
    )
    verdicts: bool = optional(
        Flag(), "Whether each match has a word for how sure it is, and the answer how many to expect wrong.", False
    )
    explain: bool = optional(Flag(), "The same, and why each match may be wrong.", False)
    shared: bool | None = optional(
        Flag(),
        "Whether photos of other machines are in the answer: those that the shared engine has.",
        Computed(lambda: None, "whether `[shared]` is configured"),
    )
    wait: float | None = optional(
        Number(0, MAX_WAIT),
        "Seconds to wait, at most, until everything that was on the disk at the call is searchable.",
        _ABSENT,
    )


@dataclass(frozen=True, slots=True)
class SubscribeParameters(QueryParameters):
    """Of ``subscribe``: a query, whose ``since`` goes by another name."""

    since: str | None = optional(
        Text(MOST_CURSOR), "A cursor: what happened after it is sent first.", Computed(lambda: None, "from now on")
    )
    taken_since: str | None = optional(Text(10), "`since` of `query`.", _ABSENT)

    @property
    def query(self) -> QueryParameters:
        """The query alone."""
        values = {each.name: getattr(self, each.name) for each in fields(QueryParameters)}
        return QueryParameters(**{**values, "since": self.taken_since})


@dataclass(frozen=True, slots=True)
class SeenParameters:
    """Of ``seen``."""

    name: str = required(Text(MOST_NAME), "The name, as in `new`.")
    shown: tuple[str, ...] = required(
        ListOf(Text(64), MOST_SHOWN), "Photos that were printed, from `shown` of an answer or of a match."
    )


@dataclass(frozen=True, slots=True)
class WhyParameters:
    """Of ``why``."""

    path: bytes = required(SplitPath(), "The file.")


@dataclass(frozen=True, slots=True)
class PhotosParameters:
    """Of ``photos``."""

    state: str = required(Choice(tuple(map(str, LISTED_STATES))), "The state of the files that are listed.")
    after: bytes = optional(PathItem(), "`next` of the page before.", Computed(lambda: b"", "from the first"))
    limit: int = optional(Whole(1, MOST_LISTED), "Most files in the page.", MOST_LISTED)


@dataclass(frozen=True, slots=True)
class ScanParameters:
    """Of ``scan``."""

    paths: tuple[bytes, ...] = optional(Paths(), "Where to look.", Computed(lambda: (), "all watched directories"))
    force: bool = optional(Flag(), "Whether unchanged photos are embedded again as well.", False)


@dataclass(frozen=True, slots=True)
class WaitParameters:
    """Of ``wait``."""

    timeout: float = optional(Number(0, MAX_WAIT), "Seconds to wait at most.", 60.0)


@dataclass(frozen=True, slots=True)
class VerifyParameters:
    """Of ``verify``."""

    repair: bool = optional(Flag(), "Whether findings are repaired where they can be.", False)


@dataclass(frozen=True, slots=True)
class Subject:
    """A face of which something is said."""

    ONE_OF: ClassVar = ("path", "data", "face_id", "group")

    path: bytes | None = optional(SplitPath(), "A photo on the daemon's machine.", _ABSENT)
    data: bytes | None = optional(Base64(), "The bytes of a photo.", _ABSENT)
    face_id: int | None = optional(Whole(), "A face of the catalog.", _ABSENT)
    group: int | None = optional(Whole(), "A group of `unknown`: all its unknown faces.", _ABSENT)
    face: int | str = optional(
        ChoiceOrWhole(("largest", "all", "none")),
        "Which face of the photo; a number counts left to right from 0. With `none`, and where the photo has no face, "
        "the person is (or is not) on the photo, whatever faces it has.",
        "largest",
    )


@dataclass(frozen=True, slots=True)
class AssignParameters:
    """Of ``assign``."""

    name: str = required(Text(MOST_NAME), "The person.")
    who: tuple[Subject, ...] = required(
        ListOf(Object(Subject, "an object with the fields of `who[]`"), MOST, least=1), "The faces."
    )
    is_: bool = optional(Flag(), "Whether the faces are the person, who is made when new; false: they are not.", True)
    except_: tuple[int, ...] = optional(
        ListOf(Whole(), MOST),
        "Faces by `face_id` of which, where they are among those in `who`, the opposite is said: that they are not the "
        "person, of a group that is named.",
        (),
    )
    anyway: bool = optional(Flag(), "Whether faces that would be poor references are taken as well.", False)
    box: tuple[int, ...] = optional(
        ListOf(Whole(), 4, least=4),
        "Of the one photo in `who`: where the face is that was not found. x, y, width and height in pixels of the "
        "upright photo.",
        (),
    )


@dataclass(frozen=True, slots=True)
class IgnoreParameters:
    """Of ``ignore``."""

    who: tuple[Subject, ...] = required(
        ListOf(Object(Subject, "an object with the fields of `who[]`"), MOST, least=1), "The faces."
    )
    is_: bool = optional(Flag(), "Whether they are ignored; false: they are not any more.", True)


@dataclass(frozen=True, slots=True)
class PersonParameters:
    """Of ``person``."""

    name: str = required(Text(MOST_NAME), "The person.")
    after: int = optional(Whole(), "`next` of the page before.", 0)
    limit: int = optional(Whole(1, MOST_LISTED), "Most statements in the page.", MOST_LISTED)


@dataclass(frozen=True, slots=True)
class UnknownParameters:
    """Of ``unknown``."""

    after: int = optional(Whole(), "`next` of the page before.", 0)
    limit: int = optional(Whole(1, MOST_GROUPS), "Most groups in the page.", MOST_GROUPS)
    ignored: bool = optional(Flag(), "Whether those that are ignored are listed in place of the others.", False)


@dataclass(frozen=True, slots=True)
class GroupParameters:
    """Of ``group``."""

    id: int = required(Whole(1), "The group.")
    skip: int = optional(Whole(), "Faces that are left out at the begin.", 0)
    limit: int = optional(Whole(1, MOST_LISTED), "Most faces in the page.", MOST_LISTED)
    ignored: bool = optional(Flag(), "Whether its faces that are ignored are listed, in place of the others.", False)


@dataclass(frozen=True, slots=True)
class SuggestionsParameters:
    """Of ``suggestions``."""

    person: str = required(Text(MOST_NAME), "The person.")
    skip: int = optional(Whole(), "Faces that are left out at the begin.", 0)
    limit: int = optional(Whole(1, MOST_GROUPS), "Most faces in the page.", 20)


@dataclass(frozen=True, slots=True)
class RenameParameters:
    """Of ``rename_person``."""

    name: str = required(Text(MOST_NAME), "The person.")
    new: str = required(Text(MOST_NAME), "The name from now on.")


@dataclass(frozen=True, slots=True)
class DescribeParameters:
    """Of ``describe_person``."""

    name: str = required(Text(MOST_NAME), "The person.")
    born: str | None = optional(
        Text(10),
        'The year, month or day of birth: 2019, 2019-06 or 2019-06-30; "none" takes it away.',
        Computed(lambda: None, "as it is"),
    )
    hidden: bool | None = optional(
        Flag(),
        "Whether no face is given this name but by a question for the person.",
        Computed(lambda: None, "as it is"),
    )


@dataclass(frozen=True, slots=True)
class MergeParameters:
    """Of ``merge_people``."""

    name: str = required(Text(MOST_NAME), "The person who is the other one.")
    into: str = required(Text(MOST_NAME), "That other one, who keeps the name.")


@dataclass(frozen=True, slots=True)
class ForgetParameters:
    """Of ``forget_person``."""

    name: str = required(Text(MOST_NAME), "The person.")


@dataclass(frozen=True, slots=True)
class UndoParameters:
    """Of ``undo``."""

    step: int | None = optional(
        Whole(),
        "`step` of the reply to the call that is to be taken back: an error where another one was the last.",
        Computed(lambda: None, "whichever call was the last"),
    )


@dataclass(frozen=True, slots=True)
class ExportParameters:
    """Of ``export``."""

    part: str = required(Choice(("people", "photos", "contents")), "Which lines.")
    after: int = optional(Whole(), "`next` of the page before.", 0)
    version: int | None = optional(
        Whole(), "`version` of the first page: an error is raised where people have changed since.", _ABSENT
    )
    embeddings: bool = optional(Flag(), "Whether the header is that of an export with contents.", False)


@dataclass(frozen=True, slots=True)
class ImportPeopleParameters:
    """Of ``import_people``."""

    data: bytes = required(Base64(), "Lines of an export: those of people, statements and photos.")
    first: int = optional(Whole(1), "Number of the first line, for errors.", 1)
    check: bool = optional(Flag(), "Whether the lines are only checked.", False)
    keep: bool = optional(
        Flag(), "Whether everything said before stays that a line contradicts, and not only what was said later.", False
    )


@dataclass(frozen=True, slots=True)
class ImportContentsParameters:
    """Of ``import_contents``."""

    data: bytes = required(Base64(), "Lines of an export: those of contents.")
    first: int = optional(Whole(1), "Number of the first line, for errors.", 1)
    check: bool = optional(Flag(), "Whether the lines are only checked.", False)


@dataclass(frozen=True, slots=True)
class OutboxParameters:
    """Of ``outbox``."""

    limit: int = optional(Whole(1, MOST_SENT), "Most changes.", 64)
    wait: float = optional(Number(0, LONGEST_POLL), "Seconds to wait for a change where there is none.", 0.0)
    after: int = optional(Whole(), "Only changes whose `seq` is higher.", 0)


@dataclass(frozen=True, slots=True)
class OutboxSendingParameters:
    """Of ``outbox_sending``."""

    lineage: str = required(Text(32), "The token of a push: 32 hexadecimal digits.")


@dataclass(frozen=True, slots=True)
class OutboxSentParameters:
    """Of ``outbox_sent``."""

    seqs: tuple[int, ...] = required(ListOf(Whole(), MOST_SENT), "`seq` of the changes that it brought.")
    lineage: str = required(Text(32), "The token of the push.")


@dataclass(frozen=True, slots=True)
class OutboxMarkParameters:
    """Of ``outbox_mark``."""

    digests: tuple[str, ...] = optional(
        ListOf(Text(64), MOST_MARKED), "Digests of photos, in hexadecimal digits, whether they are here or not.", ()
    )
    all: bool = optional(Flag(), "Whether everything is sent that photos show.", False)


@dataclass(frozen=True, slots=True)
class RegionsParameters:
    """Of ``regions``."""

    dir: bytes | None = optional(PathItem(), "Only photos below this directory, or this photo.", _ABSENT)
    after: bytes = optional(PathItem(), "`next` of the page before.", Computed(lambda: b"", "from the first"))


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the protocol."""

    parameters: type
    """Their declaration."""
    meaning: str
    """In a sentence."""
    result: str
    """The names in its result."""

    def describe(self) -> list[Description]:
        """Return its parameters in words, for the manual page."""
        return describe(self.parameters)


METHODS = {
    "status": Method(
        NoParameters,
        "Return the state of the daemon. Where a shared engine is configured, it has `shared`: the `state` (`ok`, "
        "`behind`, `unreachable`, `refused` or `off`), the `reason` and the `hint` where not all is well, whether this "
        "machine `sends`, its `name`, its `backlog` of photos to be sent and `pending` ones to be indexed, and the "
        "`machines`, each with `key`, `name`, `faces`, `photos`, `backlog`, `pending`, `as_of_s` and `is_self`.",
        "version pid uptime_s state model{name,id,dim,threshold} roots[{path,state,photos}] photos faces pending "
        "failed people index{faces,tombstones,ready} second_look{on,photos,done} undated rates problems waits device "
        "confinement catalog",
    ),
    "query": Method(
        QueryParameters,
        "Find the photos that show a person, with and without others. Where other machines were asked too, the answer "
        "has `shared`, with the `state` of the shared engine (`ok`, `behind`, `unreachable`, `refused` or `off`), the "
        "`reason` where it did not answer or something was left out, whether the answer was `cut`, as other machines "
        "have more that matches than is looked at in the time (then `total` is the least there can be, and what is "
        "missing is less alike, in whatever order the answer is), "
        "and the `machines`, each with `name`, `faces`, `backlog`, `pending` and `as_of_s`. A "
        "match then has its `host`, null for this machine, and in `elsewhere` and `similar_elsewhere` the copies and "
        "the frames of its burst that other machines have, each with `host` and `path`. One of another machine has the "
        "photo's `size`, width and height in pixels. A face that no photo of this machine shows has no `face_id`.",
        "query[{photo, face, faces, box, score, norm, quality, left_out, who}] matches[{path, similarity, box, score, "
        "norm, quality, face_id, of, person, confirmed, itself, copies, similar, taken, taken_from}] total "
        "years[{year, photos, file_dates}] threshold model faces pending complete exact elapsed_ms cursor",
    ),
    "subscribe": Method(
        SubscribeParameters,
        "Follow a query. After the reply the connection takes no more requests, and brings notifications: `match` "
        "{cursor, match, shown}, of photos that arrive or on which a face is found later; `moved` {cursor, from, to} "
        "and `gone` {cursor, path}, of photos that match (one that ceases to match, as another face is found on it or "
        "more is said of it, is not taken back); `caught-up` {cursor}, when all there is was sent; `renamed` "
        "{cursor, from, to}, of a person who is asked for: ask by the new name when you come back. A person is asked "
        "for with the faces that the user has named by then, which makes no earlier photo new. To go on after the end "
        "of a connection, give the last cursor as `since`: nothing is missed, and what was sent under the same cursor "
        "may come again. Where the cursor is not known any more, as it is a week old or of another model, `resumed` is "
        "false, and every photo that matches is sent again, at once or when it is embedded; `shown` tells which of "
        "them came before. `top`, `skip`, `years`, `sort`, `exact`, `verdicts`, `explain`, `wait`, `digests` and "
        "`shared` mean nothing here: photos of this machine alone are told of.",
        "cursor resumed",
    ),
    "seen": Method(
        SeenParameters,
        "Note that photos were printed: a query with this name in `new` leaves them out from then on.",
        "noted",
    ),
    "faces": Method(
        FacesParameters,
        "Find the faces on one photo, left to right; `face_id` is null where the photo is not recorded. With the "
        "parameter `face_id` the answer also tells, as a match does, of the photo that shows that face; `path` is null "
        "where none does any more. With `names`, each says in `names` who it is: `name`, "
        "`similarity` and `verdict` (`sure`, `likely`, `look`, or `unknown` and no name), whether the "
        "user `confirmed` it, and the next one who comes into question as `runner_up`, with `name` and `similarity`.",
        "faces[{face_id,box,score,norm,quality,landmarks,names}] width height path copies taken taken_from",
    ),
    "why": Method(
        WhyParameters,
        "Return the state of one file, and the reason.",
        "path state reason faces[{face_id,box,score,norm,quality,look}]",
    ),
    "photos": Method(
        PhotosParameters,
        "List the files in one state by path, in pages; `next` is null on the last one.",
        "photos[{path,state,reason}] next",
    ),
    "thumbnail": Method(
        ThumbnailParameters,
        "Return a picture of a face, with a margin and as a square, or of a whole photo: upright, a JPEG in base64 "
        "without any metadata. With `face_id`, another copy of the photo is taken where the first one is gone.",
        "jpeg width height",
    ),
    "scan": Method(ScanParameters, "Reconcile with the disk now.", "queued"),
    "wait": Method(
        WaitParameters,
        "Wait until everything that was on the disk at the call is searchable.",
        "pending seconds complete",
    ),
    "pause": Method(NoParameters, "Stop indexing; queries go on.", "state"),
    "resume": Method(NoParameters, "Go on indexing.", "state"),
    "verify": Method(
        VerifyParameters,
        "Compare disk, catalog and index.",
        "photos faces problems count skipped repaired",
    ),
    "people": Method(
        NoParameters,
        "List the people that have names. `photos` counts those on which the person was confirmed, `first` and `last` "
        "are the days on which these were taken, `best` is the clearest of the person's faces, and `unplaced` counts "
        "what was said of faces that are not found now.",
        "people[{name, born, hidden, references, photos, first, last, best, unplaced}]",
    ),
    "person": Method(
        PersonParameters,
        "List what was said of one person, in pages; `next` is null on the last one. `earlier_names` are those before "
        "each renaming, and of people who were merged into this one, that nobody has now.",
        "name born hidden references photos first last best unplaced earlier_names statements[{id, is, paths, digest, "
        "box, relative_box, face_id, source, at, placed}] next",
    ),
    "assign": Method(
        AssignParameters,
        "Say that faces are, or are not, a person. Poor references are left out, and `refused` says why. `moved` names "
        "those whose faces they were. `largest` says which face was taken of a photo that shows several. `step` is for "
        "`undo`; null where nothing was said that was not known.",
        "name is new said known moved except step largest[{who,face,faces}] without_face refused[{who,face,reason}]",
    ),
    "unknown": Method(
        UnknownParameters,
        "List the groups of faces of people without a name, those on most photos first, in pages; `next` is null on "
        "the last one. `first` and `last` are the days on which the photos were taken, `best` is the clearest face, "
        "which is `face` of `path`, left to right, and `examples` are faces of several photos, the clearest first. "
        "`unseen` faces are still to be looked at.",
        "groups[{id, faces, photos, first, last, best, path, face, examples}] next total unseen",
    ),
    "group": Method(
        GroupParameters,
        "List the unknown faces of a group, the clearest first.",
        "id faces[{face_id,path,box,taken,taken_from}] total",
    ),
    "ignore": Method(
        IgnoreParameters,
        "Say that the user does not care about faces: `unknown` and `suggestions` leave them out, and with a group "
        "what joins it later; a name counts more. `is` as false brings faces back, with a group all of it that is "
        "ignored. `said` counts those of which that is new.",
        "said known step",
    ),
    "suggestions": Method(
        SuggestionsParameters,
        "List faces that may be a person and of which the user said nothing: that which teaches most first. "
        "`matches` is whether a question for the person finds the face. The order stays until something is said or "
        "photos come. `assign` takes the answer.",
        "name suggestions[{face_id, path, box, score, norm, quality, similarity, matches, taken, taken_from}] total",
    ),
    "rename_person": Method(RenameParameters, "Give a person another name.", "name before step"),
    "describe_person": Method(
        DescribeParameters, "Say when a person was born, and whether the person is hidden.", "name born hidden step"
    ),
    "merge_people": Method(
        MergeParameters, "Make one person of two, with all that was said of both.", "name before statements step"
    ),
    "forget_person": Method(
        ForgetParameters,
        "Delete a person and all that was said of it. That is final, and nothing before it can be taken back either: "
        "the backups, which hold the name, are deleted and one without it is made.",
        "name statements backups",
    ),
    "undo": Method(
        UndoParameters,
        "Take back the last call that said, described, renamed or merged, as a whole; `action` is null where there is "
        "none.",
        "action names statements at",
    ),
    "regions": Method(
        RegionsParameters,
        "Read what other programs wrote about the people on photos, in pages; `next` is null on the last one. A finding"
        " has a `name`, its `source`, a `verdict` (new, known, proposed, no-face, no-place or contradicts), the"
        " `face_id` and its `box`, and what speaks `against` it. `aside` says what was left out of a file.",
        "photos[{path,digest,findings,aside}] read left_out next",
    ),
    "export": Method(
        ExportParameters,
        "Return lines of an export, in pages; `next` is null on the last one.",
        "lines next version",
    ),
    "import_people": Method(
        ImportPeopleParameters,
        "Say all that is in lines of an export, or nothing where one is wrong. One step of `undo`.",
        "people statements added replaced described known outdated kept absent{count,paths}",
    ),
    "import_contents": Method(
        ImportContentsParameters,
        "Record faces of an export for the model that runs: photos with these bytes are not embedded again.",
        "contents new",
    ),
    "outbox": Method(
        OutboxParameters,
        "For facewatch-share: return the earliest changes that the shared engine was not told of, with what is true of "
        "each content now; null where no photo shows it, or no face is on it. `lineages` are the tokens of the last "
        "push that was answered and of those that were begun since, `backlog` counts all changes, and `pending` the "
        "files that are still to be looked at; `sends` is false where the daemon notes no changes. "
        "This method and the three below are refused where the configuration has "
        "no `[shared]`.",
        "model dim machine lineages changes[{seq,digest,content}] backlog pending sends",
    ),
    "outbox_sending": Method(
        OutboxSendingParameters, "For facewatch-share: note the token of a push, before it is sent.", "lineages"
    ),
    "outbox_sent": Method(
        OutboxSentParameters,
        "For facewatch-share: delete the changes that a push brought to the engine. An error where no such push was "
        "noted: the catalog was restored from a backup meanwhile.",
        "backlog",
    ),
    "outbox_mark": Method(OutboxMarkParameters, "For facewatch-share: have contents sent once more.", "backlog"),
}
"""Every method by its name."""
