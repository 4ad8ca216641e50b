"""Main effects by least squares and what is confounded with them, as pure functions: arrays in, arrays out."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from ablate.stats.arrays import Floats

SMALL = 1e-8
"""What counts as zero: relative to the largest singular value, or as an entry of a matrix."""


def coded(levels: NDArray[np.int_], count: int) -> Floats:
    """Return a factor's columns, one for each level but the reference.

    A column is 1 in the cells with its level and 0 in the others, minus 1 / count. A coefficient is then the mean at
    its level minus the mean at the reference, over all levels of the other factors with equal weight. The coefficient
    of a product of two factors' columns is the difference between the first factor's effect at the second's level and
    at the second's reference.

    Args:
        levels: (n,) the index of each cell's level, the reference 0; -1 where the factor is not set, which is coded 0.
        count: the number of levels.

    Returns:
        (n, count - 1)

    >>> coded(np.array([0, 1, -1]), 2).tolist()
    [[-0.5], [0.5], [0.0]]
    """
    columns = (levels[:, None] == np.arange(1, count)) - 1 / count
    return np.where(levels[:, None] < 0, 0.0, columns)


def estimators(columns: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the weights that estimate each coefficient by least squares with an intercept, and which are identified.

    Args:
        columns: (n, p) the model's columns, without the intercept.

    Returns:
        (p, n) weights of the cells' values; (p,) whether the cells identify the coefficient, that is, no linear
        combination of other columns equals its own.
    """
    model = np.column_stack([np.ones(len(columns)), columns])
    inverse = np.linalg.pinv(model, rcond=SMALL)
    identified = np.isclose(np.diag(inverse @ model), 1.0, atol=1e-6)
    return inverse[1:], identified[1:]


def entangled(columns: Floats, position: int) -> list[int]:
    """Return the positions of the columns with which a column that is not identified is confounded.

    >>> entangled(np.array([[0.0, 0, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]]), 0)
    [1]
    """
    model = np.column_stack([np.ones(len(columns)), columns])
    mixing = np.linalg.pinv(model, rcond=SMALL) @ model  # the projection on what the cells determine
    row = mixing[position + 1, 1:]
    return [other for other in range(columns.shape[1]) if other != position and abs(row[other]) > 1e-6]


def interaction(first: Floats, second: Floats) -> Floats:
    """Return (n, p q) products of two factors' columns, times two.

    A coefficient is then half a difference of effects. For two factors of two levels each, the column is the product
    of the signs -1 and 1, halved as `coded` halves a factor's own signs.
    """
    products = 2 * first[:, :, None] * second[:, None, :]
    return np.asarray(products.reshape(len(first), first.shape[1] * second.shape[1]))


def aliases(weights: Floats, interactions: Floats) -> Floats:
    """Return the alias matrix: how much of each interaction is contained in each estimate.

    Args:
        weights: (p, n) what `estimators` returns: (X1'X1)^-1 X1', without the intercept's row.
        interactions: (n, q) columns that the model leaves out, X2.

    Returns:
        (p, q)

    Source: Box and Wilson (1951); Wu and Hamada, Experiments (2009), section 9.1.
    """
    shares = weights @ interactions
    return np.where(np.abs(shares) < SMALL, 0.0, shares)


def balanced(parts: list[Floats]) -> bool:
    """Return whether the columns of every two factors are uncorrelated over the cells.

    Args:
        parts: for each factor, (n, p) columns.
    """
    centred = [part - part.mean(axis=0) for part in parts]
    return all(
        np.abs(first.T @ second).max(initial=0.0) < SMALL for first, second in itertools.combinations(centred, 2)
    )
