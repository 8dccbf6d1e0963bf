"""Text in DICOM headers, in whatever character set they declare."""

from __future__ import annotations

import re
import unicodedata

# Defined terms of SpecificCharacterSet (PS3.3, C.12.1.1.2), without and with code extensions.
_CODECS = {
    "": "ascii", "ISO_IR 6": "ascii", "ISO_IR 100": "latin_1", "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3", "ISO_IR 110": "iso8859_4", "ISO_IR 144": "iso8859_5",
    "ISO_IR 127": "iso8859_6", "ISO_IR 126": "iso8859_7", "ISO_IR 138": "iso8859_8",
    "ISO_IR 148": "iso8859_9", "ISO_IR 203": "iso8859_15", "ISO_IR 13": "shift_jis",
    "ISO_IR 166": "tis_620", "ISO_IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gbk",
}  # fmt: skip
# What an escape sequence switches to; those of multi-byte sets that Python's codecs read themselves
# are handed on with the text.
_ESCAPES = {
    b"\x1b(B": "ascii", b"\x1b(J": "shift_jis", b"\x1b)I": "shift_jis", b"\x1b-A": "latin_1",
    b"\x1b-B": "iso8859_2", b"\x1b-C": "iso8859_3", b"\x1b-D": "iso8859_4",
    b"\x1b-L": "iso8859_5", b"\x1b-G": "iso8859_6", b"\x1b-F": "iso8859_7", b"\x1b-H": "iso8859_8",
    b"\x1b-M": "iso8859_9", b"\x1b-b": "iso8859_15", b"\x1b-T": "tis_620",
    b"\x1b$B": "iso2022_jp", b"\x1b$(D": "iso2022_jp_2", b"\x1b$)C": "euc_kr", b"\x1b$)A": "gb2312",
}  # fmt: skip
_ESCAPE = re.compile(rb"(\x1b(?:\$[()][A-Z]|\$[A-Z]|[()-][A-Za-z]))")


def decode(value: str | bytes, charset: str = "") -> str:
    """Text as it was meant, normalised (NFC), so that equal names are equal strings.

    Args:
        value: As SimpleITK gives it, bytes that are no UTF-8 as surrogates; or the bytes.
        charset: SpecificCharacterSet of the header, several separated by backslashes.

    Returns:
        The text. Bytes beyond ASCII that no character set is declared for are taken as UTF-8 if
        they are, else as Latin-1, which is what is left undeclared most often.
    """
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    terms = [term.strip(" \0").replace("ISO 2022 IR", "ISO_IR") for term in charset.split("\\")]
    codec = _CODECS.get(terms[0], "ascii")
    pieces = _ESCAPE.split(raw)
    text = _plain(pieces[0], codec)
    for escape, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        switched = _ESCAPES.get(escape, codec)
        if switched.startswith("iso2022"):
            text += (escape + piece).decode(switched, "replace")
        else:
            # ASCII stays in reach beside the set on the right half.
            text += _plain(piece, codec if switched == "ascii" else switched)
    return unicodedata.normalize("NFC", text.strip(" \0"))


def _plain(raw: bytes, codec: str) -> str:
    for attempt in (codec, "utf_8"):
        try:
            return raw.decode(attempt)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin_1")
