"""A process of a pool: reads a function, then batches of costs, and writes results; does not import torch.

Everything is pickled, from standard input to standard output. Output of the function goes to standard error.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Crash", "main"]


@dataclass(frozen=True)
class Crash:
    """An exception of the function, or of its transport.

    Attributes:
        text: Class and text of the exception.
        trace: The traceback.
    """

    text: str
    trace: str


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    inbox, outbox = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    function: Callable[[Any], Any] | None = None
    while True:
        try:
            message = pickle.load(inbox)
        except EOFError:
            return
        try:
            if function is None:
                function = pickle.loads(message)
                data = pickle.dumps(None)
            else:
                data = pickle.dumps(function(message))
        except BaseException as error:
            data = pickle.dumps(Crash(f"{type(error).__name__}: {error}", traceback.format_exc()))
        try:
            outbox.write(data)
            outbox.flush()
        except BrokenPipeError:
            return
