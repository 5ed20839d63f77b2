"""Which files beside a photo may name the people on it, by their names alone.

- ``a.jpg.xmp`` and ``a.xmp`` (the second one may be another file's, ``a.cr2``, of the same picture).
- ``.picasa.ini``, or ``Picasa.ini`` of Picasa 2, is one file for a directory.
- Google Takeout's JSON. It was ``a.jpg.json`` until 2024, and is ``a.jpg.supplemental-metadata.json`` since. What comes
  before ``.json`` is cut to `TAKEOUT_STEM` characters, in the middle of the photo's own name if that is longer. The
  number of a photo of a name that was there already, ``a(1).jpg``, comes last and is not cut: ``a.jpg(1).json``,
  ``a.jpg.supplemental-metadata(1).json``. A photo that was edited, ``a-edited.jpg``, has the file of ``a.jpg``. (As the
  authors of ente, immich-go and GooglePhotosTakeoutHelper found, in archives of up to 52,000 files.)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
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


def by_folded_name(names: Collection[bytes]) -> Mapping[str, bytes]:
    """The names of a directory by `folded`."""
    return {folded(name): name for name in names}


def xmp(photo: bytes, names: Mapping[str, bytes]) -> Iterator[bytes]:
    """The XMP files of a photo. ``names``: `by_folded_name` of its directory."""
    name = folded(photo)
    for candidate in (f"{name}.xmp", f"{name.rpartition('.')[0]}.xmp"):
        if candidate != ".xmp" and candidate in names:
            yield names[candidate]


def picasa(names: Mapping[str, bytes]) -> bytes | None:
    """Picasa's file of a directory."""
    return next((names[name] for name in _PICASA if name in names), None)


def takeout(photo: bytes, names: Mapping[str, bytes]) -> bytes | None:
    """Google Takeout's file of a photo."""
    name = photo.decode("utf-8", "surrogateescape")
    for stem in _takeout_stems(name):
        if found := names.get(folded(f"{stem}.json")):
            return found
    return None


def _takeout_stems(name: str) -> Iterator[str]:
    yield from _stems(name, "")
    if numbered := _NUMBERED.fullmatch(name):
        yield from _stems(numbered[1] + numbered[3], numbered[2])
    if edited := _EDITED.fullmatch(name):
        yield from _stems(edited[1] + edited[3], edited[2] or "")


def _stems(name: str, number: str) -> Iterator[str]:
    """What comes before ``.json``, the likeliest first."""
    whole = name + _SUPPLEMENT
    lengths = [len(whole), min(len(whole), TAKEOUT_STEM), *range(len(whole) - 1, len(name), -1), len(name)]
    for length in dict.fromkeys(lengths):
        yield whole[:length] + number
    if len(name) > TAKEOUT_STEM:
        yield name[:TAKEOUT_STEM] + number
