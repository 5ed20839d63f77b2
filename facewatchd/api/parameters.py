"""The methods of the protocol: the parameters of each, its meaning in a sentence, and the names in its result."""

from __future__ import annotations

from dataclasses import dataclass
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
from facewatchd.server.params import Base64, PathItem, Paths, SplitPath
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
MOST_NAME = 200
"""Characters in the name of a person, or of what an earlier call has seen."""

_ABSENT = Computed(lambda: None, "none")


@dataclass(frozen=True, slots=True)
class NoParameters:
    """Of a method that takes none."""


@dataclass(frozen=True, slots=True)
class Source:
    """One photo: a path on the daemon's machine, or bytes."""

    ONE_OF: ClassVar = ("path", "data")

    path: bytes | None = optional(SplitPath(), "A photo on the daemon's machine.", _ABSENT)
    data: bytes | None = optional(Base64(), "The bytes of a photo.", _ABSENT)


@dataclass(frozen=True, slots=True)
class FacesParameters(Source):
    """Of ``faces``."""

    names: bool = optional(Flag(), "Whether each face has the name of the person that it is.", False)


@dataclass(frozen=True, slots=True)
class Who:
    """What a question names a person by."""

    ONE_OF: ClassVar = ("path", "data", "person", "face_id", "embedding")

    path: bytes | None = optional(SplitPath(), "A photo on the daemon's machine.", _ABSENT)
    data: bytes | None = optional(Base64(), "The bytes of a photo.", _ABSENT)
    person: str | None = optional(Text(MOST_NAME), "The name of a person.", _ABSENT)
    face_id: int | None = optional(Whole(), "A face of the catalog.", _ABSENT)
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
        Flag(), "Only photos on which there is no face but those asked for, blurred ones counted, of `min_size`.", False
    )
    faces_min: int = optional(Whole(), "Only photos with at least so many faces, of `min_size`.", 0)
    faces_max: int | None = optional(
        Whole(), "Only photos with at most so many faces, of `min_size`.", Computed(lambda: None, "any number")
    )
    since: str | None = optional(Text(10), "Only photos taken in this year, month or day, or later.", _ABSENT)
    until: str | None = optional(Text(10), "Only photos taken in this year, month or day, or earlier.", _ABSENT)
    sort: str = optional(
        Choice(tuple(map(str, Sort))),
        "The order of the matches; with `-date` the newest are first.",
        str(Sort.SIMILARITY),
    )
    new: str | None = optional(
        Text(MOST_NAME), "Only photos that were not there yet when this name was last `seen`.", _ABSENT
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
        "Similarity from which a face matches. Blurred faces need more, unless it is below the model's own.",
        Computed(lambda: None, "as configured, else the model's own"),
    )
    dirs: tuple[bytes, ...] = optional(Paths(MOST, MOST_BYTES), "Only photos below one of these directories.", ())
    min_size: int = optional(Whole(), "Only faces with at least so many pixels on the box's shorter side.", 0)
    exact: bool = optional(Flag(), "Whether every face is compared, instead of asking the index.", False)
    collapse: bool = optional(
        Flag(), "Whether photos with the same bytes are one match, and so are the frames of a burst.", True
    )
    verdicts: bool = optional(
        Flag(), "Whether each match has a word for how sure it is, and the answer how many to expect wrong.", False
    )
    explain: bool = optional(Flag(), "The same, and why each match may be wrong.", False)
    wait: float | None = optional(
        Number(0, MAX_WAIT),
        "Seconds to wait, at most, until everything that was on the disk at the call is searchable.",
        _ABSENT,
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

    ONE_OF: ClassVar = ("path", "data", "face_id")

    path: bytes | None = optional(SplitPath(), "A photo on the daemon's machine.", _ABSENT)
    data: bytes | None = optional(Base64(), "The bytes of a photo.", _ABSENT)
    face_id: int | None = optional(Whole(), "A face of the catalog.", _ABSENT)
    face: int | str = optional(
        ChoiceOrWhole(("largest", "all")),
        "Which face of the photo; a number counts left to right from 0. Where the photo has none, the person is (or is "
        "not) on the photo.",
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
    anyway: bool = optional(Flag(), "Whether faces that would be poor references are taken as well.", False)
    box: tuple[int, ...] = optional(
        ListOf(Whole(), 4, least=4),
        "Of the one photo in `who`: where the face is that was not found. x, y, width and height in pixels of the "
        "upright photo.",
        (),
    )


@dataclass(frozen=True, slots=True)
class PersonParameters:
    """Of ``person``."""

    name: str = required(Text(MOST_NAME), "The person.")
    after: int = optional(Whole(), "`next` of the page before.", 0)
    limit: int = optional(Whole(1, MOST_LISTED), "Most statements in the page.", MOST_LISTED)


@dataclass(frozen=True, slots=True)
class RenameParameters:
    """Of ``rename_person``."""

    name: str = required(Text(MOST_NAME), "The person.")
    new: str = required(Text(MOST_NAME), "The name from now on.")


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
        "Return the state of the daemon.",
        "version pid uptime_s state model{name,id,dim,threshold} roots[{path,state,photos}] photos faces pending "
        "failed people index{faces,tombstones,ready} second_look{on,photos,done} undated rates problems waits device "
        "confinement",
    ),
    "query": Method(
        QueryParameters,
        "Find the photos that show the same person.",
        "query[{photo, face, faces, box, score, norm, quality, left_out, who}] matches[{path, similarity, box, score, "
        "norm, quality, face_id, of, person, confirmed, itself, copies, similar, taken, taken_from}] total "
        "threshold model faces pending complete exact elapsed_ms",
    ),
    "faces": Method(
        FacesParameters,
        "Find the faces on one photo, left to right. With `names`, each says in `names` who it is: `name`, "
        "`similarity` and `verdict` (`sure`, `likely`, `look`, or `unknown` and no name), whether the "
        "user `confirmed` it, and the next one who comes into question as `runner_up`, with `name` and `similarity`.",
        "faces[{box,score,norm,quality,landmarks,names}]",
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
        "List the people that have names. `photos` counts those on which the person was confirmed, `unplaced` what was "
        "said of faces that are not found now.",
        "people[{name,born,hidden,references,photos,unplaced}]",
    ),
    "person": Method(
        PersonParameters,
        "List what was said of one person, in pages; `next` is null on the last one.",
        "name born hidden references photos unplaced statements[{id, is, paths, digest, box, relative_box, "
        "face_id, source, at, placed}] next",
    ),
    "assign": Method(
        AssignParameters,
        "Say that faces are, or are not, a person. Poor references are left out, and `refused` says why. `moved` names "
        "those whose faces they were.",
        "name is new said known moved without_face refused[{who,face,reason}]",
    ),
    "rename_person": Method(RenameParameters, "Give a person another name.", "name before"),
    "merge_people": Method(
        MergeParameters, "Make one person of two, with all that was said of both.", "name before statements"
    ),
    "forget_person": Method(
        ForgetParameters,
        "Delete a person and all that was said of it. That is final, and nothing before it can be taken back either: "
        "the backups, which hold the name, are deleted and one without it is made.",
        "name statements backups",
    ),
    "undo": Method(
        NoParameters,
        "Take back the last call that said, renamed or merged, as a whole; `action` is null where there is none.",
        "action names statements at",
    ),
}
"""Every method by its name."""
