"""Seeds that differ by the same number of test images: how often a study calls a cell better, before and after.

    python benchmarks/coarse_errors.py

Studies of 12 cells with 2 to 20 seeds, whose arms are equally good: each seed gets 97 or 99% of 360 or 10,000 test
images right, by chance, or with a spread between seeds of 0.1 points beside it. "Before" accuracies are 32-bit floats,
so that equal differences look like a spread of a millionth of a point. "After", they are counts, and where all seeds
differ by the same the spread is that of the test set. Both are Student's t with Holm over the cells.

The exit status is 1 if more than 6% of studies (plus three Monte-Carlo standard errors) call a cell better after, or
if `differences_pp` does not make equal differences of 32-bit accuracies equal. A run takes 20 s on one core.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
from margin_errors import test_set_se_pp
from rate_tables import each, print_table

from ablate.stats.margin import differences_pp
from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.paired import t_tests

STUDIES, CELLS = 6_000, 12
SEEDS = (2, 3, 4, 7, 10, 20)
MOST_ERRORS = 0.06 + 3 * (0.06 * 0.94 / STUDIES) ** 0.5


def main() -> None:
    rng = np.random.default_rng(0)
    rows, missed = [], _not_equal(rng)
    for items, acc, sd_pp, n in product((360, 10_000), (0.97, 0.99), (0.0, 0.1), SEEDS):
        levels = np.clip(acc + sd_pp / 100 * rng.standard_normal((2, STUDIES, CELLS, n)), 0, 1)
        first, second = rng.binomial(items, levels)
        low = [np.asarray(right / items, np.float32).astype(float) for right in (first, second)]
        before = t_tests(100 * (low[0] - low[1]))
        se_pp = test_set_se_pp(first / items, second / items, items)
        after = t_tests(np.round(100 * (first - second) / items, 9), least_se=se_pp)
        wrong = [float((holms(p) < ALPHA).any(axis=-1).mean()) for p in (before, after)]
        rows.append([f"{items:,}", f"{100 * acc:g}", f"{sd_pp:g}", f"{n}", *map(each, wrong)])
        if wrong[1] > MOST_ERRORS:
            missed.append(f"{items} items, {n} seeds: {each(wrong[1])}%")
    print_table(["items", "right (%)", "sd (pp)", "seeds", "before", "after"], rows)
    print("\n" + "\n".join(missed or ["Every criterion holds."]))
    sys.exit(bool(missed))


def _not_equal(rng: np.random.Generator) -> list[str]:
    """Return the test sets on which equal differences of 32-bit accuracies do not come out equal."""
    wrong = []
    for items in (7, 360, 10_000, 60_000):
        second = rng.integers(0, items - 3, 2_000)
        accs = [np.float32(1) * (right / items).astype(np.float32) for right in (second + 3, second)]
        if np.ptp(differences_pp(accs[0].tolist(), accs[1].tolist(), items)) > 0:
            wrong.append(f"{items} items: equal differences are not equal")
    return wrong


if __name__ == "__main__":
    main()
