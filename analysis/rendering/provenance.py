"""How the numbers of a report were made: what is recorded of it, as JSON-ready values and as lines for people."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.core import provenance
from ablate.core.levels import Level, show
from ablate.core.requests import Request
from ablate.core.text import counted
from analysis.effects.factors import factors, levels_of
from analysis.findings import Findings
from analysis.formats import shown
from analysis.sources.runs import BOOKKEEPING, Runs

TITLE = "How these numbers were made"

ESSENTIAL = (
    *("dataset", "model", "norm", "bits", "depth", "width"),
    *("recipe.epochs", "recipe.lr", "recipe.batch_size", "recipe.augment"),
)
"""Settings without which nobody can tell what a study is about; the typed ones stand beside them."""

MOST_LINES = 5
"""Lines of a part that are shown at once; the others unfold."""

MOST_HOSTS = 6
_APART = ("host", "user")
"""Of where trials ran: listed within a line, and not reasons for one more."""


@dataclass(frozen=True)
class Line:
    """A line for people: a text, and above it what one may paste into a shell."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Part:
    """A titled part of the section. `is_long` says that it unfolds: nobody reads it unless they look for it."""

    title: str
    lines: Sequence[Line]
    is_long: bool = False

    @property
    def first(self) -> Sequence[Line]:
        return () if self.is_long else self.lines[:MOST_LINES]

    @property
    def folded(self) -> Sequence[Line]:
        return self.lines[len(self.first) :]


def record(findings: Findings) -> dict[str, Any]:
    """Return everything that is known of how the report's numbers were made, as `report.json` has it.

    Keys: `requests`, `fixed`, `data`, `trials_ran_on`, `files`, `report`, `not_recorded`: see README.md.
    """
    runs = findings.runs
    return {
        "requests": list(runs.origin.requests),
        "fixed": fixed(runs),
        "data": _data(runs),
        "trials_ran_on": _machines(runs),
        "files": [vars(file) for file in runs.origin.files],
        "report": provenance.occasion() | {"versions": provenance.versions(provenance.LIBRARIES_OF_REPORTS)},
        "not_recorded": _lacking(runs),
    }


def fixed(runs: Runs) -> dict[str, Level]:
    """Return the settings that no trial of the study varies, in full; of a key that some trials lack, its only value.

    Empty for numbers that papers printed, and for runs of which nothing but the factors is read.
    """
    if runs.kind == "printed":
        return {}
    left_out = {*BOOKKEEPING, *runs.factors, *runs.nuisance, *factors(runs)}
    keys = [str(key) for key in runs.frame.columns if key not in left_out]
    values = {key: levels_of(runs.frame, key) for key in keys}
    return {key: levels[0] if levels else None for key, levels in values.items() if len(levels) < 2}


def in_a_line(runs: Runs) -> str:
    """Return the settings that matter of those held fixed: what the study is about, and what somebody typed."""
    settings = fixed(runs)
    words = [word for request in runs.origin.requests for word in shlex.split(request["command"])]
    typed = [word.lstrip("+").partition("=")[0] for word in words if "=" in word]
    keys = [key for key in dict.fromkeys((*ESSENTIAL, *typed)) if key in settings]
    return ", ".join(f"{key}={_value(settings[key])}" for key in keys)


def _data(runs: Runs) -> list[dict[str, Level]]:
    """Return each data set with what identifies its content, None where it has no files of its own."""
    if "dataset" not in runs.frame or runs.kind == "printed":
        return []
    known = {name: text for request in runs.origin.requests for name, text in request["data"].items()}
    entries = []
    for name in levels_of(runs.frame, "dataset"):
        of_trials = levels_of(runs.frame[runs.frame["dataset"] == name], "dataset.content")
        contents = of_trials or [known.get(str(name))]
        entries += [{"dataset": name, "content": content, "published": not of_trials} for content in contents]
    return [entry if entry["content"] else {"dataset": entry["dataset"], "content": None} for entry in entries]


def _machines(runs: Runs) -> list[dict[str, Any]]:
    """Return each combination of hardware, threads and versions, with its number of trials, by host and by user."""
    groups: dict[tuple[tuple[str, str], ...], list[Mapping[str, str]]] = {}
    for run_id in runs.frame["run_id"]:
        if facts := runs.origin.machines.get(run_id):
            key = tuple((name, text) for name, text in facts.items() if name not in _APART)
            groups.setdefault(key, []).append(facts)
    return [
        {"trials": len(members), **dict(key)}
        | {f"{name}s": dict(Counter(facts[name] for facts in members if name in facts)) for name in _APART}
        for key, members in groups.items()
    ]


def _lacking(runs: Runs) -> list[str]:
    """Return in words what is not recorded; that of papers is none of ours."""
    if runs.kind == "printed":
        return []
    machines = [runs.origin.machines.get(run_id, {}) for run_id in runs.frame["run_id"]]
    unknown = sum("cpu" not in facts for facts in machines)
    lines = []
    if not runs.origin.requests:
        lines.append("the command lines, their dates and users, and the state of the code")
    elif unknown:
        lines.append("command lines of earlier releases, which recorded none")
    if unknown:
        lines.append(f"hardware and library versions of {counted(unknown, 'trial')}")
    return lines


def parts(recorded: Mapping[str, Any]) -> list[Part]:
    """Return what `record` returns, as lines for people."""
    report = recorded["report"]
    every = [
        Part("Command lines", [_request(request) for request in recorded["requests"]]),
        Part("Read from", [Line(_file(file)) for file in recorded["files"]]),
        Part("Data", [Line(_data_line(entry)) for entry in recorded["data"]]),
        Part("Trials ran on", [Line(_machine_line(entry)) for entry in recorded["trials_ran_on"]]),
        Part("Held fixed, in full", _settings(recorded["fixed"]), is_long=True),
        Part(
            "This report",
            [Line(f"{_when(report['date'])}, {_who(report)}; {_versions(report['versions'])}", report["command"])],
        ),
        Part("Not recorded", [Line(line) for line in recorded["not_recorded"]]),
    ]
    return [part for part in every if part.lines]


def markdown(recorded: Mapping[str, Any]) -> str:
    """Return the same lines in Markdown."""
    lines = [f"## {TITLE}"]
    for part in parts(recorded):
        lines += ["", f"**{part.title}**", ""]
        for line in part.lines:
            fence = "`" * (1 + ("`" in line.command))
            lines.append(f"- {fence}{line.command}{fence}  \n  {line.text}" if line.command else f"- {line.text}")
    return "\n".join(lines) + "\n"


def _request(request: Request) -> Line:
    first, *again = request["dates"]
    when = _when(first) + (f", and {counted(len(again), 'time')} more until {_when(again[-1])}" if again else "")
    states = [_checkout(request["git"])]
    if "ablate_git" in request:
        states.append(f"ablate itself from {_checkout(request['ablate_git'])}")
    parts = [f"{when}, {_who(request)}", *states, _versions(request["versions"])]
    return Line("; ".join(parts), request["command"])


def _checkout(git: Mapping[str, Any]) -> str:
    """Return the state of the user's checkout in words."""
    if git["commit"] is None:
        return git["note"] or "a git repository without a commit"
    words = [f"git commit {git['commit'][:12]}"]
    if git["changed"]:
        words.append(f"with changes in {', '.join(git['changed'])}")
        words.append(f"(kept as code/{git['diff']} in the runs folder)" if git["diff"] else f"({git['note']})")
    else:
        words.append("without changes")
    if git["untracked"]:
        words.append(f"and untracked files: {', '.join(git['untracked'])}")
    return " ".join(words)


def _file(file: Mapping[str, str]) -> str:
    return f"{file['path']}, written {_when(file['modified'])}, SHA-256 {file['sha256']}"


def _data_line(entry: Mapping[str, Any]) -> str:
    if not entry["content"]:
        return f"{entry['dataset']}: no files, it comes with a library or is generated"
    return f"{entry['dataset']}: content {entry['content']}{', as published' if entry['published'] else ''}"


def _machine_line(entry: Mapping[str, Any]) -> str:
    """Return one combination of hardware, threads and versions in words."""
    texts = {"cpu": "{}", "gpu": "{}", "device": "device {}", "threads": "{} threads", "system": "{}"}
    known = [text.format(entry[name]) for name, text in texts.items() if name in entry]
    known = [text.replace("1 threads", "1 thread") if text == "1 threads" else text for text in known]
    beside = {name: text for name, text in entry.items() if name not in (*texts, "trials", "hosts", "users")}
    hosts = list(entry["hosts"])
    more = f" and {len(hosts) - MOST_HOSTS} more hosts" if len(hosts) > MOST_HOSTS else ""
    where = f" on {', '.join(hosts[:MOST_HOSTS])}{more}" if hosts else ""
    users = f", user {', '.join(entry['users'])}" if entry["users"] else ""
    return "; ".join(filter(None, [f"{counted(entry['trials'], 'trial')}{where}{users}", *known, _versions(beside)]))


def _settings(settings: Mapping[str, Level]) -> list[Line]:
    return [Line(", ".join(f"{key}={_value(level)}" for key, level in settings.items()))] if settings else []


def _value(level: Level) -> str:
    return show(level) if level is None else shown(level)


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _who(entry: Mapping[str, Any]) -> str:
    return f"{entry['user']} on {entry['host']}"


def _when(date: str) -> str:
    """Return an ISO date with its time zone for people.

    >>> _when("2026-11-30T20:17:17+01:00")
    '2026-11-30 20:17:17 +01:00'
    """
    return f"{date[:10]} {date[11:19]} {date[19:]}"
