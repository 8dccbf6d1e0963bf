"""Settings are kept while a command works with them, and put back if it fails with nothing done."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.covid3d.common.config import Config, to_json
from examples.covid3d.common.files import write_json
from examples.covid3d.run.settings_file import CONFIG


@contextmanager
def keeping(out: Path, config: Config, anything_done: Callable[[], bool]) -> Iterator[None]:
    """Keeps settings in a run folder, or those before them if the body fails with nothing done.

    A process that is killed, or interrupted, leaves the new ones: to resume, they are needed.

    Args:
        out: Run folder.
        config: The settings.
        anything_done: Whether some unit was completed under them.
    """
    kept, before = out / CONFIG, out / f".before-{CONFIG}"
    before.unlink(missing_ok=True)
    if kept.is_file():
        shutil.copyfile(kept, before)
    write_json(kept, to_json(config))
    try:
        yield
    except Exception:
        if not anything_done():
            # Even on a disk that is full: a name is changed, nothing is written.
            if before.is_file():
                before.replace(kept)
            else:
                kept.unlink(missing_ok=True)
        raise
    finally:
        with contextlib.suppress(OSError):
            before.unlink(missing_ok=True)
