"""What networks draw that did not learn from the mask in question."""

from __future__ import annotations

from torch import Tensor

from examples.covid3d.train.lesson import Lesson


def drawn_by_others(lesson: Lesson, title: str = "audit") -> dict[str, Tensor]:
    """Trains two students, each on half of the trusted and half of the audited scans.

    Args:
        lesson: Roles ``trusted`` and ``unlabelled``, the audited ones; ``labels`` has their given
            masks. Trainings lie in its folder and resume.
        title: Shown in the progress bars.

    Returns:
        Foreground probability of every trusted and every audited scan on its working grid, of the
        student that learnt from neither the scan nor its mask.
    """
    raise NotImplementedError
