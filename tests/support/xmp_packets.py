"""XMP packets with face regions, in the forms that other programs write."""

from __future__ import annotations

from collections.abc import Iterable

Named = tuple[str, tuple[float, float, float, float]]
"""A name, and the upper left corner and sides of its region, as parts of the picture."""

_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    ' xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"'
    ' xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"'
    ' xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"'
    ' xmlns:MP="http://ns.microsoft.com/photo/1.2/" xmlns:MPRI="http://ns.microsoft.com/photo/1.2/t/RegionInfo#"'
    ' xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#">{}</rdf:Description></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
)


def packet(inside: str) -> bytes:
    """A packet with some RDF properties."""
    return _PACKET.format(inside).encode()


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def digikam(people: Iterable[Named], applied: tuple[int, int] | None = None) -> bytes:
    """MWG's regions as Exiv2 writes them for digiKam: structures as elements with ``parseType="Resource"``."""
    items = "".join(
        f'<rdf:li><rdf:Description mwg-rs:Name="{escaped(name)}" mwg-rs:Type="Face"><mwg-rs:Area stArea:x="{x + w / 2}"'
        f' stArea:y="{y + h / 2}" stArea:w="{w}" stArea:h="{h}" stArea:unit="normalized"/></rdf:Description></rdf:li>'
        for name, (x, y, w, h) in people
    )
    sides = (
        f'<mwg-rs:AppliedToDimensions stDim:w="{applied[0]}" stDim:h="{applied[1]}" stDim:unit="pixel"/>'
        if applied
        else ""
    )
    return packet(
        f'<mwg-rs:Regions rdf:parseType="Resource">{sides}<mwg-rs:RegionList><rdf:Bag>{items}</rdf:Bag>'
        "</mwg-rs:RegionList></mwg-rs:Regions>"
    )


def exiftool(people: Iterable[Named], applied: tuple[int, int] | None = None) -> bytes:
    """The same as ExifTool writes it: every property is an element."""
    items = "".join(
        '<rdf:li rdf:parseType="Resource"><mwg-rs:Area rdf:parseType="Resource">'
        f"<stArea:h>{h}</stArea:h><stArea:unit>normalized</stArea:unit><stArea:w>{w}</stArea:w>"
        f"<stArea:x>{x + w / 2}</stArea:x><stArea:y>{y + h / 2}</stArea:y></mwg-rs:Area>"
        f"<mwg-rs:Name>{escaped(name)}</mwg-rs:Name><mwg-rs:Type>Face</mwg-rs:Type></rdf:li>"
        for name, (x, y, w, h) in people
    )
    sides = (
        '<mwg-rs:AppliedToDimensions rdf:parseType="Resource">'
        f"<stDim:h>{applied[1]}</stDim:h><stDim:unit>pixel</stDim:unit><stDim:w>{applied[0]}</stDim:w>"
        "</mwg-rs:AppliedToDimensions>"
        if applied
        else ""
    )
    return packet(
        f'<mwg-rs:Regions rdf:parseType="Resource">{sides}<mwg-rs:RegionList><rdf:Bag>{items}</rdf:Bag>'
        "</mwg-rs:RegionList></mwg-rs:Regions>"
    )


def windows(people: Iterable[Named]) -> bytes:
    """Microsoft's regions as Windows Photo Gallery writes them."""
    items = "".join(
        f'<rdf:li><rdf:Description MPReg:PersonDisplayName="{escaped(name)}"'
        f' MPReg:Rectangle="{x}, {y}, {w}, {h}"/></rdf:li>'
        for name, (x, y, w, h) in people
    )
    return packet(
        "<MP:RegionInfo><rdf:Description><MPRI:Regions><rdf:Bag>"
        f"{items}</rdf:Bag></MPRI:Regions></rdf:Description></MP:RegionInfo>"
    )


def picasa_ini(photos: dict[str, Iterable[Named]]) -> bytes:
    """A ``.picasa.ini`` with the faces of some photos."""
    contacts: dict[str, str] = {}
    sections = []
    for photo, people in photos.items():
        faces = []
        for name, (x, y, w, h) in people:
            contact = contacts.setdefault(name, f"{0xAB + len(contacts):x}")
            corners = "".join(f"{round(65535 * part):04x}" for part in (x, y, x + w, y + h)).lstrip("0")
            faces.append(f"rect64({corners}),{contact}")
        sections.append(f"[{photo}]\nrotate=rotate(0)\nfaces={';'.join(faces)};\nbackuphash=1\n")
    names = "".join(f"{contact}={name};;\n" for name, contact in contacts.items())
    return f"[Picasa]\nname=An album\n[Contacts2]\n{names}{''.join(sections)}".encode()
