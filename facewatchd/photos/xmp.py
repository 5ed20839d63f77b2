"""XMP packets: RDF in XML, as Adobe's programs and many others keep beside a picture. The one module that parses XML.

A packet comes from anywhere: defusedxml refuses definitions of entities, which could grow without end, and a packet
above `MOST_BYTES` is not parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

if TYPE_CHECKING:
    from collections.abc import Iterable
    from xml.etree.ElementTree import Element

MOST_BYTES: Final = 4 << 20
"""Those of cameras have some kilobytes, those of editors that keep each step some hundred."""
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES: Final = {
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
"""By the prefixes that programs give them; a packet may have others."""


def descriptions(packet: bytes) -> list[Element]:
    """Return the descriptions of the picture: elements with properties as attributes and as children.

    Empty for what is no XMP packet.
    """
    if not packet or len(packet) > MOST_BYTES:
        return []
    if not packet.startswith(_UTF_16):
        packet = packet.strip(b"\0\t\n\r ")
    try:
        root = defusedxml.ElementTree.fromstring(packet, forbid_dtd=True)
    except (SyntaxError, ValueError, LookupError, DefusedXmlException):  # an encoding that is not known is one, too
        return []
    return [each for rdf in root.iter(f"{{{RDF}}}RDF") for each in rdf.findall(f"{{{RDF}}}Description")]


def values(packet: bytes, names: Iterable[str]) -> dict[str, str]:
    """Return simple properties of the picture by their names, such as ``xmp:CreateDate``; those that are there."""
    found: dict[str, str] = {}
    for description in descriptions(packet):
        for name in names:
            prefix, _, local = name.partition(":")
            key = f"{{{NAMESPACES[prefix]}}}{local}"
            text = description.get(key) or description.findtext(key)
            if text:
                found.setdefault(name, text)
    return found
