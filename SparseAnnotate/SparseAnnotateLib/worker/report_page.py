"""The report on a cohort as a page: one HTML file that needs no network and no other file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from statistics import mean

from .. import __version__
from ..core import SliceState
from ..core.drawn_on import changed_images_sentence
from ..core.messages import _
from ..runs.dice_in_words import dice_sentences
from .report_request import APPLIED, FILL, CaseReport, CohortReport, ResultState

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; } th, td { padding: .25em .7em; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #888; } tr + tr td { border-top: 1px solid #ddd; } td.number { text-align: right; }
.problem { color: #b02a2a; } .old { color: #8a6d00; } figure { display: inline-block; margin: 0 1em 1em 0; }
figcaption { font-size: .9em; color: #555; } img { max-width: 100%; }
@media (prefers-color-scheme: dark) { body { background: #1c1c1c; color: #ddd; } tr + tr td { border-color: #444; } }
"""
_MOST_IN_WORKLIST = 500


def page(report: CohortReport, pictures: Mapping[str, str]) -> str:
    """The page. `pictures`: case to a PNG in base64."""
    now = datetime.now().strftime("%Y-%m-%d %H:%M")
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(report.name)}</title>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<style>{_STYLE}</style></head><body><h1>{escape(report.name)}</h1>",
        f"<p>{_text(_('Written on {date} by SparseAnnotate {version}.').format(date=now, version=__version__))}</p>",
        _summary(report),
        _section(_("Cases"), _cases(report)),
        _section(_("Runs"), _runs(report)),
        _section(_("Slices to do"), _worklist(report)),
        _section(_("Pictures"), _pictures(pictures)),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _summary(report: CohortReport) -> str:
    sentences = []
    if report.structures:
        names = ", ".join(f"{name} ({value})" for value, name in report.structures.items())
        sentences.append(_("Structures: {names}.").format(names=names))
    effort = report.effort
    if effort is not None:
        sentences.append(
            _("Drawn: {drawn} slices of {cases} cases, in {minutes} minutes. To do: {to_do}.").format(
                drawn=effort.drawn, cases=len(report.cases), minutes=round(effort.seconds / 60), to_do=effort.to_do
            )
        )
        if effort.minutes_left:
            sentences.append(_("They will take about {minutes} minutes.").format(minutes=round(effort.minutes_left)))
        if effort.saved_slices and effort.drawn:
            sentences.append(_("Not to be drawn: {saved} slices.").format(saved=effort.saved_slices))
    for name, title in _result_names(report).items():
        known = [state for case in report.cases for state in case.results if state.made_by == name]
        dice = [state.dice for state in known if state.dice is not None]
        undrawn = [state.undrawn_dice for state in known if state.undrawn_dice is not None]
        if dice and undrawn:
            sentences.append(
                _("Mean Dice of {result}: {dice} over all voxels, {undrawn} over undrawn ones ({count} cases).").format(
                    result=title, dice=f"{mean(dice):.3f}", undrawn=f"{mean(undrawn):.3f}", count=len(dice)
                )
            )
    return f"<p>{'<br>'.join(_text(sentence) for sentence in sentences)}</p>" if sentences else ""


def _cases(report: CohortReport) -> str:
    results = _result_names(report)
    head = [_("case"), _("voxels"), _("mm"), _("drawn"), _("to do"), _("skipped"), _("corrections"), _("minutes")]
    rows = [_case_row(case, results) for case in report.cases]
    return _table([*head, *results.values()], rows)


def _case_row(case: CaseReport, results: Mapping[str, str]) -> list[str]:
    if case.problem:
        return [_cell(case.name), f"<td colspan='{7 + len(results)}' class='problem'>{_text(case.problem)}</td>"]
    states = {state.made_by: state for state in case.results}
    change = case.image_change
    sentence = changed_images_sentence({case.name: change}) if change is not None else ""
    warning = f"<br><small class='problem'>{_text(sentence)}</small>" if sentence else ""
    return [
        f"<td>{_text(case.name)}{warning}</td>",
        _cell(" x ".join(map(str, reversed(case.shape)))),
        _cell(" x ".join(f"{mm:.3g}" for mm in reversed(case.spacing))),
        _cell(case.count(SliceState.DRAWN, SliceState.EMPTY)),
        _cell(case.count(SliceState.TODO)),
        _cell(case.count(SliceState.SKIPPED)),
        _cell(case.corrections),
        _cell(f"{case.ledger.seconds / 60:.1f}"),
        *(_result_cell(states.get(name)) for name in results),
    ]


def _result_cell(state: ResultState | None) -> str:
    if state is None:
        return _cell("")
    if state.problem:
        return f"<td class='problem'>{_text(state.problem)}</td>"
    total = sum(state.sources.values())
    shares = ", ".join(f"{name} {count / total:.0%}" for name, count in state.sources.items()) if total else ""
    sources = f"<br><small>{_text(shares)}</small>" if shares else ""
    if state.change:
        return f"<td class='old'>{_text(_('out of date: {change}').format(change=state.change))}</td>"
    if state.dice is None or state.undrawn_dice is None:
        return f"<td>{_text(state.method or _('made'))}{sources}</td>"
    text = _("Dice {dice}, undrawn {undrawn}").format(dice=f"{state.dice:.3f}", undrawn=f"{state.undrawn_dice:.3f}")
    return f"<td>{_text(f'{text} ({state.method})' if state.method else text)}{sources}</td>"


def _runs(report: CohortReport) -> str:
    rows = []
    for run in report.runs:
        if run.problem:
            rows.append([_cell(run.name), f"<td colspan='4' class='problem'>{_text(run.problem)}</td>"])
            continue
        quality = dice_sentences(run.dice, run.corrected_dice, run.is_live) if run.is_finished else _("not finished")
        slices = "" if run.slices is None else run.slices
        when = run.changed.strftime("%Y-%m-%d %H:%M")
        rows.append([_cell(run.name), _cell(when), _cell(run.cases), _cell(slices), _cell(quality)])
    return _table([_("run"), _("date"), _("cases"), _("slices"), _("quality")], rows) if rows else ""


def _worklist(report: CohortReport) -> str:
    items = [(entry, case.name) for case in report.cases for entry in case.ledger.todo]
    items.sort(key=lambda item: (item[0].order == 0, item[0].order, item[1], item[0].index))
    rows = [
        [_cell(entry.order or ""), _cell(case), _cell(entry.plane.value), _cell(entry.index), _cell(entry.reason)]
        for entry, case in items[:_MOST_IN_WORKLIST]
    ]
    if not rows:
        return ""
    left_out = len(items) - len(rows)
    more = f"<p>{_text(_('{count} more are not listed.').format(count=left_out))}</p>" if left_out else ""
    return _table([_("order"), _("case"), _("plane"), _("slice"), _("reason")], rows) + more


def _pictures(pictures: Mapping[str, str]) -> str:
    return "".join(
        f"<figure><img alt='{escape(case, quote=True)}' src='data:image/png;base64,{png}'>"
        f"<figcaption>{escape(case)}</figcaption></figure>"
        for case, png in pictures.items()
    )


def _result_names(report: CohortReport) -> dict[str, str]:
    """Each kind of result that some case has, and its title."""
    found = dict.fromkeys(state.made_by for case in report.cases for state in case.results)
    titles = {FILL: str(_("fill")), APPLIED: str(_("applied in Slicer"))}
    return {name: titles.get(name, f"'{name}'") for name in found}


def _section(title: str, content: str) -> str:
    return f"<h2>{_text(title)}</h2>\n{content}" if content else ""


def _table(head: Sequence[object], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{_text(text)}</th>" for text in head)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>\n{body}</table>"


def _cell(value: object) -> str:
    kind = " class='number'" if isinstance(value, int) else ""
    return f"<td{kind}>{_text(value)}</td>"


def _text(value: object) -> str:
    return escape(str(value))
