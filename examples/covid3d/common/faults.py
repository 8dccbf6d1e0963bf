"""Whether a failure is a file's own, or of the disk, the network or the machine."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from examples.covid3d.common.errors import UserError, problem

# Errors that tell of the file itself and are there tomorrow too. All others, such as a full disk or
# a share that does not answer, say nothing of the file.
_OF_THE_FILE = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES,
    errno.EPERM, errno.EINVAL,
}  # fmt: skip
_CHUNK = 2**22
# Torch has no error of its own for it on the CPU.
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory", re.IGNORECASE)

_MENDING = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space within your quota",
    errno.EMFILE: "raise the number of files a process may open (`ulimit -n`)",
    errno.ENFILE: "close other programs: the system has no more open files to give",
    errno.EBUSY: "wait until nothing writes to it any more",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose another folder, or get the right to use this one",
    errno.EPERM: "choose another folder, or get the right to use this one",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "choose another path: a part of this one is a file",
    errno.EEXIST: "choose another path: this one is a file",
    errno.EISDIR: "choose another path: this one is a folder",
    errno.ENAMETOOLONG: "choose a shorter path",
}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def passing_fault(error: BaseException) -> OSError | MemoryError | None:
    """What made ``error``, if that is no fault of the file that was read or written.

    Args:
        error: What was raised; what it was raised from counts too.

    Returns:
        The error of the disk, the network or the machine, or None.
    """
    for one in _chain(error):
        if isinstance(one, MemoryError):
            return one
        if isinstance(one, RuntimeError) and _NO_MEMORY.search(str(one)):
            return MemoryError(str(one).splitlines()[0])
        if isinstance(one, OSError) and one.errno is not None and one.errno not in _OF_THE_FILE:
            return one
    return None


def read_through(paths: Iterable[Path]) -> None:
    """Reads files to their end, for libraries that call any failure a damaged file.

    Raises:
        OSError: If one cannot be read, for no fault of its own.
    """
    for path in paths:
        try:
            # A pipe would be waited on for ever.
            if not path.is_file():
                continue
            with path.open("rb") as stream:
                while stream.read(_CHUNK):
                    pass
        except OSError as error:
            if passing_fault(error) is not None:
                raise


def in_words(error: OSError | MemoryError) -> UserError:
    """The failure as an error that says what to do."""
    if isinstance(error, MemoryError):
        return problem(
            "memory",
            f"not enough of it ({error})" if str(error) else "not enough of it",
            "room for a scan, or for a batch of patches",
            "close other programs, or lower --jobs, --batch-size or --patch; the same command goes "
            "on where it was",
        )
    where = error.filename if error.filename is not None else "a file"
    return problem(
        str(where),
        f"{error.strerror or error}",
        "a disk and a folder that answer",
        f"{_MENDING.get(error.errno or 0, 'wait until that disk or share is there again')}; the "
        "same command then goes on where it was",
    )
