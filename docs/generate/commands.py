"""The table of commands, from the command line itself."""

import click

from branchfold.search.console.commands import cli


def commands() -> list[str]:
    """A row for each command: its arguments, the first sentence of its help, its options."""
    rows = []
    for name, command in sorted(cli.commands.items()):
        arguments = [p.human_readable_name for p in command.params if isinstance(p, click.Argument)]
        options = [f"`{max(p.opts, key=len)}`" for p in command.params if isinstance(p, click.Option)]
        sentence = (command.help or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
        rows.append(f"| `branchfold {' '.join([name, *arguments])}` | {sentence} | {', '.join(options)} |")
    return ["| command | does | options |", "| --- | --- | --- |", *rows]
