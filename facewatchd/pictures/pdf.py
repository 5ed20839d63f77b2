"""A PDF of pages that are pictures, each with its lines of text behind it, so that they can be searched and copied.

Pillow writes PDFs too, but holds the pixels of all pages until the last is drawn (11 MB a page), and no text. What is
written here is the least that ISO 32000-1 asks for: a catalog, the pages, for each a JPEG and a stream that shows it
over its text, and one font. The text is in rendering mode 3, which shows nothing. Its font has no glyphs; its codes are
UTF-16, each of the same width, and the text is stretched to the length that it has on the picture. That is how programs
that recognise text make scans searchable.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable
from typing import BinaryIO, Final

from facewatchd.photos import sheet_mark
from facewatchd.pictures.pages import MILLIMETRES_PER_INCH, Page, Word

_POINTS: Final = 72 / MILLIMETRES_PER_INCH
"""Of a PDF's unit, in a millimetre."""
_QUALITY: Final = 88
_HEADER: Final = b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n"
_CATALOG, _PAGES, _FONT, _DESCENDANT, _DESCRIPTOR, _TO_UNICODE, _INFO = range(1, 8)
"""Numbers of the objects that every document has."""
_CODE_WIDTH: Final = 0.5
"""Width of each code in parts of the size of the letters."""
_CODES: Final = b"""\
/CIDInit /ProcSet findresource begin 12 dict begin begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def /CMapType 2 def
1 begincodespacerange <0000> <FFFF> endcodespacerange
1 beginbfrange <0000> <FFFF> <0000> endbfrange
endcmap CMapName currentdict /CMap defineresource pop end end
"""


def write(file: BinaryIO, pages: Iterable[Page], *, title: str) -> None:
    """Write a document page by page. Raises OSError."""
    document = _Document(file)
    kids = [document.add_page(page) for page in pages]
    references = b" ".join(b"%d 0 R" % kid for kid in kids)
    document.add(b"<< /Type /Catalog /Pages %d 0 R >>" % _PAGES, _CATALOG)
    document.add(b"<< /Type /Pages /Count %d /Kids [ %s ] >>" % (len(kids), references), _PAGES)
    document.add_font()
    info = b"<< /Creator %s /Title %s >>" % (_text(sheet_mark.SOFTWARE), _text(title))
    document.add(info, _INFO)
    document.end()


class _Document:
    """A file to which objects are written, and where each of them begins."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0
        self._begins: dict[int, int] = {}
        self._next = _INFO + 1
        self._write(_HEADER)

    def add(self, body: bytes, number: int | None = None) -> int:
        """Write an object and return its number."""
        if number is None:
            number, self._next = self._next, self._next + 1
        self._begins[number] = self._at
        self._write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
        return number

    def add_stream(self, entries: bytes, data: bytes, number: int | None = None) -> int:
        return self.add(b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(data), data), number)

    def add_page(self, page: Page) -> int:
        jpeg = io.BytesIO()
        page.image.save(jpeg, "JPEG", quality=_QUALITY, subsampling=0)
        width, height = (length * _POINTS for length in (page.width, page.height))
        picture = self.add_stream(
            b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8 "
            b"/Filter /DCTDecode" % page.image.size,
            jpeg.getvalue(),
        )
        shown = b"q %.3f 0 0 %.3f 0 0 cm /P Do Q\n" % (width, height)
        text = b"".join(_words(word, page.dpi, page.image.height) for word in page.words)
        commands = b"BT 3 Tr\n%sET\n%s" % (text, shown)
        contents = self.add_stream(b"/Filter /FlateDecode", zlib.compress(commands))
        return self.add(
            b"<< /Type /Page /Parent %d 0 R /MediaBox [ 0 0 %.3f %.3f ] /Contents %d 0 R "
            b"/Resources << /XObject << /P %d 0 R >> /Font << /F %d 0 R >> >> >>"
            % (_PAGES, width, height, contents, picture, _FONT)
        )

    def add_font(self) -> None:
        name = b"/BaseFont /NoGlyphs"
        self.add(
            b"<< /Type /Font /Subtype /Type0 %s /Encoding /Identity-H /DescendantFonts [ %d 0 R ] /ToUnicode %d 0 R >>"
            % (name, _DESCENDANT, _TO_UNICODE),
            _FONT,
        )
        self.add(
            b"<< /Type /Font /Subtype /CIDFontType2 %s /CIDToGIDMap /Identity /DW %d /FontDescriptor %d 0 R "
            b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
            % (name, round(_CODE_WIDTH * 1000), _DESCRIPTOR),
            _DESCENDANT,
        )
        self.add(
            b"<< /Type /FontDescriptor /FontName /NoGlyphs /Flags 5 /FontBBox [ 0 -200 500 800 ] /ItalicAngle 0 "
            b"/Ascent 800 /Descent -200 /CapHeight 800 /StemV 80 >>",
            _DESCRIPTOR,
        )
        self.add_stream(b"/Filter /FlateDecode", zlib.compress(_CODES), _TO_UNICODE)

    def end(self) -> None:
        """Write where each object begins, and the trailer."""
        table = self._at
        count = self._next
        self._write(b"xref\n0 %d\n0000000000 65535 f \n" % count)
        self._write(b"".join(b"%010d 00000 n \n" % self._begins[number] for number in range(1, count)))
        trailer = b"trailer\n<< /Size %d /Root %d 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        self._write(trailer % (count, _CATALOG, _INFO, table))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)


def _words(word: Word, dpi: int, height: int) -> bytes:
    """Return the operators that place a line of text."""
    unit = 72 / dpi
    codes = word.text.encode("utf-16-be", "replace")
    natural = len(codes) / 2 * _CODE_WIDTH * word.size
    stretch = 100 * word.length / natural if natural else 100
    return b"/F %.2f Tf %.2f Tz 1 0 0 1 %.2f %.2f Tm <%s> Tj\n" % (
        word.size * unit,
        stretch,
        word.left * unit,
        (height - word.base) * unit,
        codes.hex().encode(),
    )


def _text(text: str) -> bytes:
    """Return a text string as the mark is looked for: UTF-16 with a byte order mark, in parentheses."""
    data = b"\xfe\xff" + text.encode("utf-16-be", "replace")
    for character in (b"\\", b"(", b")"):
        data = data.replace(character, b"\\" + character)
    return b"(" + data.replace(b"\r", b"\\r") + b")"
