"""Where the user's code is that runs now."""

import os
import sys
from pathlib import Path
from typing import Any

import torch

# Of torch, and of tracing.
LIBRARIES = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parents[1]}{os.sep}")


def user_frame() -> Any:
    """The frame of the user's code that runs now; None where none of it does."""
    frame: Any = sys._getframe(1)
    while frame is not None and not is_users(frame):
        # Who called tracing has no part in what the network does.
        frame = None if frame.f_code.co_name == "record" and _is_ours(frame) else frame.f_back
    return frame


def _is_ours(frame: Any) -> bool:
    return bool(frame.f_code.co_filename.startswith(LIBRARIES[1]))


def is_users(frame: Any) -> bool:
    """Whether a frame is of the user's code."""
    return not frame.f_code.co_filename.startswith(LIBRARIES)


def place() -> str:
    """File and line of the user's code that runs now."""
    frame = user_frame()
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
