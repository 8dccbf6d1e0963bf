"""Names and paths kept apart: pseudonyms in every list, and the key to them in a folder of its own.

The folder ``private`` of a run has the key and a table from pseudonym to scan, readable by the user
alone. Whatever else is passed on of a run, that folder is not.
"""

from __future__ import annotations

import base64
import dataclasses
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import read_csv, write_csv, write_text
from examples.covid3d.scans.readers.listing import stem_of
from examples.covid3d.scans.readers.scan import Rejected, Scan

HIDDEN = "private"
"""What a list has for a path that is kept apart; also the name of the folder it is kept in."""
NAMES, _KEY = "names.csv", "key"
_UID = re.compile(r"\b\d+(?:\.\d+){3,}\b")
# Shorter names would be found in words.
_SHORTEST = 3


def private_folder(prepared: Path) -> Path:
    """Where the key of a run lies, beside its folder of prepared scans."""
    return prepared.parent / HIDDEN


class Pseudonyms:
    """Pseudonyms under one key: the same for the same name, today and tomorrow.

    Args:
        folder: Where the key lies; made, and a key in it, if need be. A copy of the key in another
            run's folder gives the same pseudonyms there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        path = folder / _KEY
        if not path.exists():
            write_text(path, secrets.token_hex(32) + "\n")
            path.chmod(0o600)
        self._key = path.read_text(encoding="utf-8").strip().encode()
        if len(self._key) < 32:
            raise problem(
                path, "no key", "a key of 64 hexadecimal digits", "restore it, or use a new --out"
            )
        self._hidden: dict[str, str] = {}

    def of(self, kind: str, name: str) -> str:
        """The pseudonym of a scan, a patient or a file."""
        digest = hmac.new(self._key, f"{kind}\0{name}".encode("utf-8", "surrogatepass"), "sha256")
        return f"{kind}-{base64.b32encode(digest.digest()).decode().lower()[:10]}"

    def rename(self, scans: Iterable[tuple[str, Scan]]) -> list[tuple[str, Scan]]:
        """The scans under their pseudonyms, and notes who is who in ``names.csv``.

        Raises:
            UserError: If two would have one pseudonym.
        """
        renamed, rows = [], []
        for dataset, scan in scans:
            own = dataclasses.replace(
                scan, name=self.of("scan", scan.name), patient=self.of("patient", scan.patient)
            )
            renamed.append((dataset, own))
            rows.append(
                {
                    "pseudonym": own.name, "scan": scan.name, "patient": scan.patient,
                    "patient_pseudonym": own.patient, "image": str(scan.image),
                    "mask": "" if scan.mask is None else str(scan.mask),
                    "series": scan.series or "",
                }
            )  # fmt: skip
            for text in (scan.image, scan.mask, scan.series, scan.name):
                if text is not None:
                    self._hidden[str(text)] = own.name
        if len({own.name for _, own in renamed}) < len(renamed):
            raise problem(self._folder / _KEY, "two equal pseudonyms", "a key", "remove it")
        known = {row["pseudonym"] for row in rows}
        path = self._folder / NAMES
        # Those of scans that are gone stay: the last complete preparation may list them.
        old = read_csv(path) if path.is_file() else []
        write_csv(path, rows + [row for row in old if row["pseudonym"] not in known])
        (self._folder / NAMES).chmod(0o600)
        return sorted(renamed, key=lambda pair: (pair[0], pair[1].name))

    def hide(self, rejected: Sequence[Rejected], roots: Sequence[str]) -> list[Rejected]:
        """What was rejected, without names and paths.

        Args:
            rejected: With names and paths.
            roots: Folders below which no path is to be seen.
        """
        hidden = dict(self._hidden)
        for one in rejected:
            if one.where not in hidden:
                hidden[one.where] = self.of("file", one.where)
                hidden.setdefault(stem_of(Path(one.where.split(", series ")[0])), hidden[one.where])
        longest = sorted((text for text in hidden if len(text) >= _SHORTEST), key=len, reverse=True)
        # One pass, so that nothing is looked for in a pseudonym.
        names = re.compile("|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in longest) or "$^")
        paths = [re.compile(re.escape(root) + r"[^\s,;)']*") for root in roots]

        def without(text: str) -> str:
            text = names.sub(lambda match: hidden[match[0]], text)
            for path in paths:
                text = path.sub("(a file)", text)
            return _UID.sub("(a series)", text)

        return [
            dataclasses.replace(one, where=hidden[one.where], reason=without(one.reason))
            for one in rejected
        ]


def real_names(prepared: Path) -> dict[str, dict[str, str]]:
    """Rows of ``names.csv``, as they are read back, by pseudonym.

    Raises:
        UserError: If it is not there.
    """
    path = private_folder(prepared) / NAMES
    if not path.is_file():
        raise problem(
            path,
            "no such file",
            "the table from pseudonyms to scans, which is kept apart from the run",
            "put the folder `private` back beside the prepared scans",
        )
    return {row["pseudonym"]: row for row in read_csv(path)}
