"""The names of a data set's classes, for people who read a network's answers."""

from __future__ import annotations

from collections.abc import Mapping

CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

NAMES: Mapping[str, tuple[str, ...]] = {
    "fashion_mnist": (
        *("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "cifar100": tuple(CIFAR100.split()),
}
"""Last part of a data set's `_target_` -> names by class index. Sources: the data sets' own pages."""


def labels(target: str, classes: int) -> tuple[str, ...]:
    """Return a name for each class; its index where the data set has no names.

    >>> labels("ablate.data.datasets.digits", 3)
    ('0', '1', '2')
    """
    names = NAMES.get(target.rpartition(".")[2], ())
    return names if len(names) == classes else tuple(map(str, range(classes)))
