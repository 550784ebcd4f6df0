"""Figures as files for papers: SVG, PNG or PDF, drawn by kaleido in a Chromium."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import plotly.graph_objects as go

from ...errors import StudyError, one_line
from ...files import whole_file
from ..figures.theme import Theme, themed

Form = Literal["svg", "png", "pdf"]
_WIDTH = 900


def write_pictures(
    figures: Mapping[str, go.Figure], folder: Path, form: Form, theme: Theme = "light", width: int = _WIDTH
) -> dict[str, Path]:
    """Writes each figure to `folder`/NAME.`form` and returns the paths by name; what is there is replaced.

    Raises:
        StudyError: if kaleido or a Chromium is missing, or a file cannot be written.
    """
    try:
        import kaleido
    except ImportError:
        raise StudyError("--figures needs kaleido: pip install 'branchfold[figures]'") from None
    written: dict[str, Path] = {}
    if os.geteuid() == 0:  # kaleido's browser refuses to run as root in its sandbox
        os.environ.setdefault("CHOREO_NO_SANDBOX", "1")
    try:
        kaleido.start_sync_server(silence_warnings=True)
        for name, figure in figures.items():
            path = folder / f"{name}.{form}"
            height = int(figure.layout.height or 400)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = themed(figure, theme).to_image(format=form, width=width, height=height, scale=2)
            with whole_file(path) as draft:
                draft.write_bytes(image)
            written[name] = path
    except OSError as error:
        raise StudyError(f"cannot write {error.filename or folder}: {error.strerror or one_line(error)}") from error
    except Exception as error:  # kaleido's and its browser's are many
        reason = one_line(error)
        raise StudyError(
            f"the figures cannot be drawn: {reason}; kaleido needs a Chromium (Debian: apt install chromium)"
        ) from error
    finally:
        kaleido.stop_sync_server(silence_warnings=True)
    return written
