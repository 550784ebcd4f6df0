"""Writes the tables of README.md and docs/ anew: from the code, and from the results in benchmarks/.

python docs/generate/tables.py            writes them
python docs/generate/tables.py --check    only says which are out of date, with exit status 1

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from branchfold.docs.generate import commands, house, keys, measurements, pays, predictors, schedules, schema

ROOT = Path(__file__).resolve().parents[2]
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

TABLES: dict[str, Callable[[], list[str]]] = {
    "found": measurements.found,
    "recipes": measurements.recipes,
    "engine": measurements.engine,
    "architectures": measurements.architectures,
    "depth": measurements.depth,
    "service": measurements.service,
    "families": measurements.families,
    "streams": measurements.streams,
    "zoo": measurements.zoo,
    "deployed": measurements.deployed,
    "loading": measurements.loading,
    "map": pays.cells,
    "map-winners": pays.winners,
    "predictors": predictors.predictors,
    "surrogate": measurements.surrogate,
    "screening": measurements.screening,
    "schedules": schedules.schedules,
    "commands": commands.commands,
    "keys": keys.keys,
    "names": keys.named_values,
    "house": house.house,
    "schema": schema.schema,
    "views": schema.views,
}


def documents() -> list[Path]:
    """The pages that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def regenerated(text: str) -> str:
    """A page's text with all its tables made anew.

    Raises:
        KeyError: if a table's name is unknown.
    """
    return _TABLE.sub(lambda match: match[1] + "\n".join(TABLES[match[2]]()) + "\n" + match[3], text)


def main() -> None:
    """Writes or checks all pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for page in documents():
        before = page.read_text("utf-8")
        after = regenerated(before)
        if before != after:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(after, "utf-8")
    print(f"{'out of date' if check else 'written'}: {', '.join(stale) or 'nothing'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
