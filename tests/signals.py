"""What processes of tests do with signals, whoever runs the tests.

nohup, cron and shells without job control start their children with SIGHUP or SIGINT ignored;
a process inherits that, and the program rightly leaves it so (`onebyone.process`).
"""

from __future__ import annotations

import signal

__all__ = ["SIGNALS", "as_in_a_terminal"]

SIGNALS = tuple(getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n))
"""What asks a command to end; Windows has no SIGHUP."""


def as_in_a_terminal() -> None:
    """In a new process, before the program begins: no signal is ignored."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
