"""The commands that show a study: its trials, a report, two trials or studies side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ...errors import StudyError
from .options import as_study, force_option, json_option, storage_option
from .terminal import make_console, print_line

if TYPE_CHECKING:
    from ...studies.tables.study import StudyView

PAGES, PICTURES = ("html", "md"), ("svg", "png", "pdf")


@click.command()
@click.argument("study")
@click.option("--trial", type=click.IntRange(min=0), help="Show this trial whole: recipe, milestones, widths.")
@click.option("--sort", metavar="COLUMN", help="Order by a column, -COLUMN the other way; the best first by metric.")
@click.option("--where", multiple=True, metavar="CONDITION", help="Only trials such as 'macs<0.2', 'state=complete'.")
@click.option("--top", type=click.IntRange(min=1), help="Only so many: the best, or the first by --sort.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@storage_option
def show(
    study: str,
    trial: int | None,
    sort: str | None,
    where: tuple[str, ...],
    top: int | None,
    as_csv: bool,
    as_json: bool,
    storage: str,
) -> None:
    """Show the trials of STUDY as a table, or one of them whole.

    Example: branchfold show digits --where "macs<0.2" --top 5
    """
    if as_csv and as_json:
        raise StudyError("give --csv or --json, and not both")
    view, console = _view(study, storage), make_console()
    from ...studies.database.companions import is_screening
    from ...studies.database.trials import trial_of
    from ...studies.report.description import trial_values
    from ...studies.tables.selecting import selected
    from ...studies.tables.trials import trial_lines
    from .shown.outcome import failure_lines
    from .shown.trial import show_trial
    from .shown.trials import trials_csv, trials_table, trials_values

    selects = sort is not None or where or top is not None
    if trial is not None:
        if selects or as_csv:
            raise StudyError("--trial shows one trial whole: --sort, --where, --top and --csv are for the table")
        trial_of(view.study, trial)
        if as_json:
            click.echo(json.dumps(trial_values(view, trial_lines(view)[trial]), indent=2))
        else:
            show_trial(view, trial, console)
        return
    if is_screening(view.study) and selects:
        raise StudyError(
            f"study {view.name!r} holds widths that were judged untrained, the best first: they have no "
            f"columns to select by"
        )
    lines = (
        None if is_screening(view.study) else selected(trial_lines(view), view.metric, where=where, sort=sort, top=top)
    )
    if as_json:
        click.echo(json.dumps(trials_values(view, lines), indent=2))
    elif as_csv:
        click.echo(trials_csv(view, lines), nl=False)
    else:
        console.print(trials_table(view, lines, width=console.width))
        for line in failure_lines(view.study):
            print_line(console, line)


@click.command()
@click.argument("study")
@click.option("--output", type=click.Path(path_type=Path), help="File to write (default: NAME-report.html or .md).")
@click.option(
    "--format",
    "forms",
    type=click.Choice([*PAGES, *PICTURES]),
    multiple=True,
    help="html (the default) or md for the page; svg, png or pdf for --figures.",
)
@click.option(
    "--figures", type=click.Path(path_type=Path), metavar="FOLDER", help="Write the figures there, for papers."
)
@click.option(
    "--importance",
    type=click.Choice(["ped-anova", "fanova"]),
    default="ped-anova",
    show_default=True,
    help="How the parameters' importances are found.",
)
@force_option
@storage_option
def report(
    study: str,
    output: Path | None,
    forms: tuple[str, ...],
    figures: Path | None,
    importance: Literal["ped-anova", "fanova"],
    force: bool,
    storage: str,
) -> None:
    """Write a report of STUDY: one HTML page that needs no network, or Markdown, or its figures as files.

    Example: branchfold report digits --output digits.html
    """
    pages, pictures = [form for form in forms if form in PAGES], [form for form in forms if form in PICTURES]
    if len(pages) > 1 or len(pictures) > 1:
        raise StudyError(
            f"--format {' '.join(forms)}: give one of {', '.join(PAGES)}, and one of {', '.join(PICTURES)}"
        )
    if pictures and figures is None:
        raise StudyError(f"--format {pictures[0]} is for figures: say where to with --figures FOLDER")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise StudyError(f"cannot write figures to {figures}: it is no folder; choose another --figures")
    view = _view(study, storage)
    from ...studies.report.making import make_document
    from ...studies.report.writing import Wanted, write_report
    from ..exports.places import check_output, sources_of

    if pages or output is not None or figures is None:
        form = pages[0] if pages else "md" if output is not None and output.suffix == ".md" else "html"
        page = output or Path(f"{view.name}-report.{form}")
        sources: tuple[str, ...] = (study,) if study.endswith(".toml") else ()
        if view.definition is not None:
            sources = sources_of(view.definition, study)
        check_output(page, url=storage, sources=sources, force=force, kind="report")
        wanted = Wanted(page, form, figures, pictures[0] if pictures else "svg")
    else:
        wanted = Wanted(None, "html", figures, pictures[0] if pictures else "svg")
    for line in write_report(make_document(view, importance), view.name, wanted):
        print_line(make_console(), line)


@click.command()
@click.argument("study")
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@json_option
@storage_option
def compare(study: str, first: str, second: str | None, as_json: bool, storage: str) -> None:
    """Compare trials A and B of STUDY, or the studies STUDY and A: what can be told apart, cost, recipes, widths.

    Example: branchfold compare digits 3 7
    """
    if second is None and first.isdecimal():
        raise StudyError(f"give two trials, `branchfold compare {study} {first} B`, or two studies")
    numbers = [] if second is None else [_number(text) for text in (first, second)]
    view = _view(study, storage)
    from ...studies.tables.comparison import compare_studies, compare_trials
    from .shown.comparison import comparison_parts

    found = compare_trials(view, *numbers) if numbers else compare_studies(view, _view(first, storage))
    if as_json:
        click.echo(json.dumps(found._asdict(), indent=2))
        return
    console = make_console()
    for part in comparison_parts(found):
        console.print(part)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise StudyError(f"{text!r} is no number of a trial; two studies are compared by `branchfold compare A B`")
    return int(text)


def _view(study: str, storage: str) -> StudyView:
    """A study that was given by its name or TOML file."""
    loaded = as_study(study, storage)
    from ...studies.tables.study import StudyView
    from ..space.courses import course_of  # torch: seconds, which a mistake need not wait for

    return StudyView(loaded, course_of)
