"""What every published number has beside it, and how it is published."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def surroundings(*packages: str) -> dict[str, Any]:
    """The machine, and the versions of Python, branchfold and other packages."""
    return {
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("branchfold", *packages)},
        },
    }


def publish(result: dict[str, Any], output: Path | None) -> None:
    """Prints a result as JSON, and writes it where asked to."""
    text = json.dumps(result, indent=2)
    print(text)
    if output is not None:
        output.write_text(text + "\n")
