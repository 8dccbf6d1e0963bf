"""One step at a time in a process.

Scoring passes put other values into the model's own slots, and set switches and random number
streams that PyTorch has one of in a process.
"""

from __future__ import annotations

import threading

ONE_AT_A_TIME = threading.RLock()
