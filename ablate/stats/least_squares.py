"""Main effects by least squares, and what is mixed into them: pure functions, arrays in, arrays out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ablate.stats.paired import Floats

SMALL = 1e-8


def coded(levels: NDArray[np.int_], count: int) -> Floats:
    """A factor's columns: for each level but the reference 1 where it is, less the share of one level.

    So a coefficient is a level minus the reference, over all levels of the other factors alike. That of a product of
    two factors' columns is what the first one's effect differs by between the other's level and its reference.

    Args:
        levels: (n,) the place of each cell's level, the reference 0; -1 where the factor is not set, which is coded 0.
        count: the number of levels.

    Returns:
        (n, count - 1)

    >>> coded(np.array([0, 1, -1]), 2).tolist()
    [[-0.5], [0.5], [0.0]]
    """
    columns = (levels[:, None] == np.arange(1, count)) - 1 / count
    return np.where(levels[:, None] < 0, 0.0, columns)


def estimators(columns: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """How each coefficient comes out of the cells' values, least squares with an intercept, and whether it does.

    Args:
        columns: (n, p) the model's columns, without the intercept.

    Returns:
        (p, n) weights; (p,) whether the cells identify the coefficient: no other columns add up to its own.
    """
    model = np.column_stack([np.ones(len(columns)), columns])
    inverse = np.linalg.pinv(model, rcond=SMALL)
    identified = np.isclose(np.diag(inverse @ model), 1.0, atol=1e-6)
    return inverse[1:], identified[1:]


def entangled(columns: Floats, at: int) -> list[int]:
    """The other columns that a column which is not identified cannot be told from.

    >>> entangled(np.array([[0.0, 0, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]]), 0)
    [1]
    """
    model = np.column_stack([np.ones(len(columns)), columns])
    mixing = np.linalg.pinv(model, rcond=SMALL) @ model  # the projection on what the cells tell
    return [place for place in range(columns.shape[1]) if place != at and abs(mixing[at + 1, place + 1]) > 1e-6]


def interaction(first: Floats, second: Floats) -> Floats:
    """(n, p q) products of two factors' columns, twice: a coefficient is half a difference of effects.

    So of two factors of two levels, -1 and 1, it is the product of the signs, halved as these columns are.
    """
    products = 2 * first[:, :, None] * second[:, None, :]
    return np.asarray(products.reshape(len(first), first.shape[1] * second.shape[1]))


def aliases(weights: Floats, interactions: Floats) -> Floats:
    """The alias matrix: how much of each interaction stands in each estimate.

    Args:
        weights: (p, n) what `estimators` gives: (X1'X1)^-1 X1', without the intercept's row.
        interactions: (n, q) columns that the model leaves out, X2.

    Returns:
        (p, q)

    Source: Box and Wilson (1951); Wu and Hamada, Experiments (2009), section 9.1.
    """
    return np.where(np.abs(found := weights @ interactions) < SMALL, 0.0, found)


def balanced(parts: list[Floats]) -> bool:
    """Whether every two factors' columns are uncorrelated over the cells.

    Args:
        parts: for each factor (n, p) columns.
    """
    centred = [part - part.mean(axis=0) for part in parts]
    return all(
        np.abs(one.T @ other).max(initial=0.0) < SMALL for at, one in enumerate(centred) for other in centred[at + 1 :]
    )
