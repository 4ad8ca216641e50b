"""Claim 1: does batch norm give a significant advantage consistently, in cell after cell?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import yaml

from ablate import CONF
from ablate.core.levels import Level, is_number
from ablate.stats.multiple_testing import ALPHA
from ablate.stats.seed_rule import SeedRule
from analysis import formats
from analysis.effects.factors import levels_of
from analysis.effects.matched import MarginRow, split_constants
from analysis.paper import ruling
from analysis.paper.decisions import Advantage, no_consistent_advantage
from analysis.paper.ruling import Ruling
from analysis.sources.runs import Runs

CLAIM = "Batch norm does not consistently give a significant advantage."
RULE = (
    "The claim is confirmed if batch norm's margin is shown to be negligible in a quarter or more of the cells that "
    "can show anything, else denied if batch norm is shown to be better in every one of them."
)
MOST_NAMES = 4


@dataclass(frozen=True)
class ArmCell:
    """A batch-norm arm in one cell: its margin over shifted ReLU, and the cell in words.

    silent: why the cell can show nothing, in words; empty where it can.
    """

    arm: str
    row: MarginRow
    name: str
    silent: str = ""

    @property
    def values_pp(self) -> list[float]:
        """The (n,) margins, one per seed, in percentage points."""
        return [*self.row.by_seed.values()]


def rule(
    runs: Runs, rows: Mapping[str, Sequence[MarginRow]], shifted: str, negligible_pp: float, command: str
) -> Ruling:
    """Return what the study says to claim 1.

    The claim is confirmed if batch norm's margin is shown to be negligible in a quarter or more of the cells that can
    show anything, else denied if batch norm is shown to be better in every one of them. Cells in which both arms are at
    the ceiling or at chance can show nothing: see `why_silent`.

    Args:
        runs: the study.
        rows: batch-norm arm -> its margins over shifted ReLU.
        shifted: the name of the arm with shifted ReLU.
        negligible_pp: a margin below this counts as none, in percentage points.
        command: what to type to run a study that tests the claim.
    """
    classes = _classes(runs)
    only = next(iter(classes.values())) if len(levels_of(runs.frame, "dataset")) == len(classes) == 1 else None
    cells = [
        ArmCell(
            arm, row, _name(varied.levels), why_silent(row, classes.get(row.levels.get("dataset"), only), negligible_pp)
        )
        for arm, of_arm in rows.items()
        for row, varied in zip(of_arm, split_constants(of_arm)[0], strict=True)
        if row.margin or any(row.failed)
    ]
    if not any(cell.row.margin for cell in cells):
        return Ruling(1, CLAIM, "not tested", "No cell has a seed that is done in both arms.", command)
    advantage = no_consistent_advantage(
        [cell.values_pp for cell in cells],
        [cell.row.failed for cell in cells],
        [not cell.silent for cell in cells],
        negligible_pp=negligible_pp,
        seed_rule=runs.seed_rule,
    )
    tests = pd.DataFrame(
        {
            "arm": cell.arm,
            "cell": cell.name or "all trials",
            "margin (pp)": formats.signed(float(np.mean(cell.values_pp))) if cell.values_pp else formats.ABSENT,
            "95% interval": ruling.interval(cell.values_pp, runs.seed_rule),
            "n": len(cell.values_pp),
            "p, above 0": formats.p_value(p_better),
            f"p, below {negligible_pp:g}": formats.p_value(p_small),
            "": cell.silent,
        }
        for cell, p_better, p_small in zip(cells, advantage.p_better, advantage.p_small, strict=True)
    )
    reason = _in_words(cells, advantage, shifted, negligible_pp, runs.seed_rule)
    return Ruling(1, CLAIM, advantage.word, reason, tests=tests)


def why_silent(row: MarginRow, classes: int | None, negligible_pp: float) -> str:
    """Return why a cell can show nothing of an advantage; empty where it can.

    Both arms are at the ceiling if the mean error of each is below `negligible_pp`, and at chance if the mean accuracy
    of each is less than `negligible_pp` above that of guessing, 1 / classes. A cell in which a trial failed is never
    silent.

    Args:
        row: the cell.
        classes: of its data set; None where they are not known.
        negligible_pp: a margin below this counts as none, in percentage points.
    """
    if row.first_acc is None or row.second_acc is None or any(row.failed):
        return ""
    accs_pct = [round(100 * acc, 9) for acc in (row.first_acc, row.second_acc)]
    if min(accs_pct) > 100 - negligible_pp:
        return "at the ceiling"
    if classes and max(accs_pct) < 100 / classes + negligible_pp:
        return "at chance"
    return ""


def _classes(runs: Runs) -> dict[Level, int]:
    """Return data set -> its classes, from the trials' configs or from conf/; without those for which neither says."""
    known = {}
    for name in levels_of(runs.frame, "dataset"):
        of_data = levels_of(runs.frame[runs.frame["dataset"] == name], "dataset.classes")
        path = CONF / "dataset" / f"{name}.yaml"
        if not of_data and path.is_file():
            of_data = [(yaml.safe_load(path.read_text(encoding="utf-8")).get("shape") or {}).get("classes")]
        if len(of_data) == 1 and is_number(of_data[0]):
            known[name] = int(of_data[0])
    return known


def _name(levels: Mapping[str, Level]) -> str:
    return ", ".join(f"{key} {formats.shown(level)}" for key, level in levels.items())


def _in_words(
    cells: Sequence[ArmCell], advantage: Advantage, shifted: str, negligible_pp: float, seed_rule: SeedRule
) -> str:
    """Return in how many cells each arm is better than shifted ReLU, how that was tested, and by which rule."""
    lines = []
    for arm in dict.fromkeys(cell.arm for cell in cells):
        shows = [
            (better, small)
            for cell, p, better, small in zip(cells, advantage.p_better, advantage.better, advantage.small, strict=True)
            if cell.arm == arm and p is not None
        ]
        if shows:
            lines.append(
                f"{arm} is significantly better than {shifted} in {sum(better for better, _ in shows)} of {len(shows)} "
                f"cells, shown to be less than {negligible_pp:g} points better in {sum(small for _, small in shows)}, "
                f"neither in {shows.count((False, False))}."
            )
    lines += _silent_in_words(cells)
    untested = sum(p is None and not cell.silent for cell, p in zip(cells, advantage.p_better, strict=True))
    lines += [f"Without a test: {untested}, for want of two seeds that differ."] * bool(untested)
    informative = sum(not cell.silent for cell in cells)
    if informative:
        every = "shown" if advantage.p_every < ALPHA else "not shown"
        share = "shown" if advantage.p_share < ALPHA else "not shown"
        lines.append(
            f"Better in every cell: {every} ({formats.p_is(advantage.p_every)}, each cell at 5%, since all must hold). "
            f"Negligible in {advantage.needed} of {informative} or more: {share} ({formats.p_is(advantage.p_share)}, "
            "partial conjunction)."
        )
    test = "Paired t" if seed_rule.is_fixed else f"Sequential test ({seed_rule.in_words})"
    lines.append(
        f"{RULE} {test} over seeds, one-sided; what is said of single cells is adjusted by Holm over the cells."
    )
    return " ".join(lines)


def _silent_in_words(cells: Sequence[ArmCell]) -> list[str]:
    lines = []
    for why in dict.fromkeys(cell.silent for cell in cells if cell.silent):
        names = list(dict.fromkeys(cell.name or "all trials" for cell in cells if cell.silent == why))
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        lines.append(f"Both arms are {why}, so that nothing can show, in: {'; '.join(names[:MOST_NAMES])}{more}.")
    return lines
