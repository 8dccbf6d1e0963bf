"""Text in the character set that a header declares."""

import unicodedata

import pytest

from examples.covid3d.scans.readers import hospital
from examples.covid3d.scans.readers.dicom_text import decode


@pytest.mark.parametrize(
    ("raw", "charset", "text"),
    [
        (b"Smith", "", "Smith"),
        (b"M\xfcller-\xdf ", "ISO_IR 100", "Müller-ß"),
        (b"Nov\xe1k \xe8", "ISO_IR 101", "Novák č"),
        ("Иванов".encode("iso8859_5"), "ISO_IR 144", "Иванов"),
        ("Διον".encode("iso8859_7"), "ISO_IR 126", "Διον"),
        ("Müller".encode(), "ISO_IR 192", "Müller"),
        ("王小东".encode("gb18030"), "GB18030", "王小东"),
        (b"Yamada\x1b$B;3ED\x1b(B^1", "\\ISO 2022 IR 87", "Yamada山田^1"),
        (b"\xd4\xcf\xc0\xde", "ISO_IR 13", "ﾔﾏﾀﾞ"),
        (b"Hong\x1b$)C\xfb\xf3", "\\ISO 2022 IR 149", "Hong洪"),
        (b"M\xfcller\x1b-L\xb8", "ISO 2022 IR 100\\ISO 2022 IR 144", "MüllerИ"),
        # Undeclared, or declared wrongly.
        (b"P\xfc", "ISO_IR 6", "Pü"),
        ("Pü".encode(), "", "Pü"),
        (b"M\xfcller", "ISO_IR 192", "Müller"),
        (b"M\xfcller", "NONSENSE", "Müller"),
    ],
)
def test_each_set(raw, charset, text):
    assert decode(raw, charset) == text
    # As SimpleITK hands it out.
    assert decode(raw.decode("utf-8", "surrogateescape"), charset) == text


def test_equal_names_are_equal_strings():
    assert decode(unicodedata.normalize("NFD", "Müller").encode(), "ISO_IR 192") == "Müller"


def test_a_patient_is_the_same_in_two_sets(tmp_path):
    files = pytest.importorskip("tests.covid3d.scans.readers.dicom_files")
    for charset, name in (("ISO_IR 100", b"M\xfcller "), ("ISO_IR 192", "Müller".encode())):
        written = files.write_series(
            tmp_path / charset, files.chest(8), uid=charset[-3:], patient="MXller77"[: len(name)]
        )
        for path in written.values():
            content = path.read_bytes()
            assert content.count(b"MXller") == 1
            at = content.index(b"MXller")
            length = int.from_bytes(content[at - 4 : at], "little")
            content = content[:at] + name.ljust(length) + content[at + length :]
            # The first element of the data set, which is written without representations.
            first = content.index(b"\x08\0\x16\0\x1a\0\0\0")
            declared = b"\x08\0\x05\0\x0a\0\0\0" + charset.encode()
            path.write_bytes(content[:first] + declared + content[first:])
    patients = {scan.patient for scan in hospital.read(tmp_path).scans}
    assert patients == {"Müller"}
