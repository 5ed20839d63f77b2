"""Which files beside a photo may name the people on it, by their names alone.

- ``a.jpg.xmp`` and ``a.xmp`` (the second one may be another file's, ``a.cr2``, of the same picture).
- ``.picasa.ini``, or ``Picasa.ini`` of Picasa 2, is one file for a directory.
- Google Takeout's JSON. It was ``a.jpg.json`` until 2024, and is ``a.jpg.supplemental-metadata.json`` since. What comes
  before ``.json`` is cut to `TAKEOUT_STEM` characters, in the middle of the photo's own name if that is longer. The
  number of a photo of a name that was there already, ``a(1).jpg``, comes last and is not cut: ``a.jpg(1).json``,
  ``a.jpg.supplemental-metadata(1).json``. A photo that was edited, ``a-edited.jpg``, has the file of ``a.jpg``. (As the
  authors of ente, immich-go and GooglePhotosTakeoutHelper found, in archives of up to 52,000 files.)

Case does not count, but where the names of two photos differ in nothing else, each has the file of exactly its name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

TAKEOUT_STEM: Final = 46
_SUPPLEMENT: Final = ".supplemental-metadata"
_NUMBERED: Final = re.compile(r"(.*)(\(\d{1,6}\))(\.[^.]*)", re.DOTALL)
_EDITED: Final = re.compile(
    r"(.*)-(?:edited|bearbeitet|modifié|editado|modificato|bewerkt)(\(\d{1,6}\))?(\.[^.]*)", re.DOTALL
)
"""The word is in the language of the account."""
_PICASA: Final = (".picasa.ini", "picasa.ini")


def folded(name: bytes | str) -> str:
    """A file name without regard to case and to Unicode's form: programs on other systems wrote some of them."""
    text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
    return unicodedata.normalize("NFC", text.casefold())


Folded = Mapping[str, Sequence[str]]
"""Names by `folded`. Their bytes are those of UTF-8 with ``surrogateescape``."""


def by_folded_name(names: Iterable[bytes | str]) -> Folded:
    """The names of a directory, or in a file, by `folded`."""
    found: dict[str, list[str]] = {}
    for name in sorted(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape") for name in names):
        found.setdefault(folded(name), []).append(name)
    return found


def _twins(photo: str, names: Folded) -> list[str]:
    """The files whose names differ from a photo's in case alone."""
    return [name for name in names.get(folded(photo), ()) if name != photo]


def _found(wanted: str, others: Iterable[str], names: Folded) -> str | None:
    """The one of some names that is wanted: exactly that, or else in another case and not what ``others`` want.

    The case of what follows the last dot never counts.
    """
    candidates = names.get(folded(wanted), ())
    taken = {_stem(other) for other in others} - {_stem(wanted)}
    return min(
        (name for name in candidates if _stem(name) not in taken),
        key=lambda name: _stem(name) != _stem(wanted),
        default=None,
    )


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def xmp(photo: bytes, names: Folded) -> Iterator[bytes]:
    """The XMP files of a photo. ``names``: `by_folded_name` of its directory."""
    name = photo.decode("utf-8", "surrogateescape")
    twins = _twins(name, names)
    for part in (str, _stem):
        if part(name) and (found := _found(f"{part(name)}.xmp", [f"{part(twin)}.xmp" for twin in twins], names)):
            yield found.encode("utf-8", "surrogateescape")


def picasa(names: Folded) -> bytes | None:
    """Picasa's file of a directory."""
    found = next((names[name][0] for name in _PICASA if name in names), None)
    return None if found is None else found.encode("utf-8", "surrogateescape")


def section(photo: bytes, sections: Folded, names: Folded) -> str | None:
    """The section of Picasa's file that is about a photo. ``names``: those of the directory."""
    name = photo.decode("utf-8", "surrogateescape")
    return _found(name, _twins(name, names), sections)


def takeout(photo: bytes, names: Folded) -> bytes | None:
    """Google Takeout's file of a photo."""
    name = photo.decode("utf-8", "surrogateescape")
    others = [f"{stem}.json" for twin in _twins(name, names) for stem in _takeout_stems(twin)]
    for stem in _takeout_stems(name):
        if found := _found(f"{stem}.json", others, names):
            return found.encode("utf-8", "surrogateescape")
    return None


def _takeout_stems(name: str) -> Iterator[str]:
    yield from _stems(name, "")
    if numbered := _NUMBERED.fullmatch(name):
        yield from _stems(numbered[1] + numbered[3], numbered[2])
    if edited := _EDITED.fullmatch(name):
        yield from _stems(edited[1] + edited[3], edited[2] or "")


def _stems(name: str, number: str) -> Iterator[str]:
    """The names that may stand before ``.json``, the likeliest first."""
    whole = name + _SUPPLEMENT
    lengths = [len(whole), min(len(whole), TAKEOUT_STEM), *range(len(whole) - 1, len(name), -1), len(name)]
    for length in dict.fromkeys(lengths):
        yield whole[:length] + number
    if len(name) > TAKEOUT_STEM:
        yield name[:TAKEOUT_STEM] + number
