"""The database's tables as a Mermaid drawing, from the models, and its views with their columns."""

import tempfile
from pathlib import Path

from sqlalchemy import Column, Table, inspect

from branchfold.studies.database.storage import open_storage
from branchfold.studies.database.tables.models import OPTUNAS, OURS, table_of
from branchfold.studies.database.tables.views import VIEWS


def schema() -> list[str]:
    """The drawing: each table with its columns, and which table of Optuna's its rows go with."""
    tables = [*OPTUNAS, *(table_of(model) for model in OURS)]
    lines = ["```mermaid", "erDiagram"]
    for table in tables:
        for key in sorted(table.foreign_keys, key=str):
            many = "o|" if [*table.primary_key] == [key.parent] else "o{"
            lines.append(f'    {key.column.table.name} ||--{many} {table.name} : "goes with"')
    lines.append('    studies ||--o{ trials : "Optuna\'s"')
    for table in tables:
        lines += [f"    {table.name} {{", *(f"        {_column(c, table)}" for c in table.columns), "    }"]
    return [*lines, "```"]


def views() -> list[str]:
    """A row for each view."""
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        storage = open_storage(f"sqlite:///{Path(folder) / 'schema.db'}", create=True)
        inspector = inspect(storage.engine)
        rows = [(name, ", ".join(f"`{c['name']}`" for c in inspector.get_columns(name))) for name in VIEWS]
        storage.engine.dispose()
    return ["| view | columns |", "| --- | --- |", *(f"| `{name}` | {columns} |" for name, columns in rows)]


def _column(column: Column, table: Table) -> str:
    keys = [*(["PK"] if column.primary_key else []), *(["FK"] if column.foreign_keys else [])]
    kind = column.type.__class__.__name__.lower()
    return " ".join([kind, column.name, *([", ".join(keys)] if keys else [])])
