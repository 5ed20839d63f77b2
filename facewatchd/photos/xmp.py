"""Simple properties of a picture in XMP packets (`packets`), such as dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from facewatchd.photos import packets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAMESPACES: Final = {
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
"""By the prefixes that programs give them; a packet may have others."""


def values(found: Sequence[bytes], names: Iterable[str]) -> dict[str, str]:
    """Return properties by their names, such as ``xmp:CreateDate``; those that are there.

    Of a packet that cannot be read there is none. What other pictures are said to be, in a history, does not count.
    """
    keys = {f"{{{NAMESPACES[prefix]}}}{local}": f"{prefix}:{local}" for prefix, local in (n.split(":") for n in names)}
    texts: dict[str, str] = {}
    for packet in found:
        try:
            root = packets.parse(packet)
        except packets.InvalidXmpError:
            continue
        for description in (each for rdf in root.iter(f"{packets.RDF}RDF") for each in rdf.iterfind(_OWN)):
            for key, name in keys.items():
                if text := description.get(key) or description.findtext(key):
                    texts.setdefault(name, text)
    return texts


_OWN: Final = f"{packets.RDF}Description"
"""Elements that describe the picture: properties are attributes and children of them."""
