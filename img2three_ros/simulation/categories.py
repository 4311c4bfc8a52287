"""Semantic classes of what is seen: the one place where categories of objects become numbers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class SemanticClass(IntEnum):
    """Values of ``RenderedView.category``. OTHER: poles, signs, furniture, fences and all that has no class."""

    UNKNOWN = 0
    SKY = 1
    GROUND = 2
    BUILDING = 3
    VEGETATION = 4
    VEHICLE = 5
    PERSON = 6
    OTHER = 7


_MEMBERS = {
    SemanticClass.GROUND: ("ground", "road", "kerb", "pavement", "terrain", "island"),
    SemanticClass.BUILDING: ("building", "house", "wall", "bridge", "tunnel", "garage", "structure"),
    SemanticClass.VEGETATION: ("tree", "hedge", "bush", "shrub", "vegetation", "grass", "plant"),
    SemanticClass.VEHICLE: ("vehicle", "car", "van", "truck", "bus", "trailer", "motorcycle", "train"),
    SemanticClass.PERSON: ("person", "cyclist", "rider", "pedestrian", "animal"),
}
_CLASS_OF = {name: number for number, names in _MEMBERS.items() for name in names}


def semantic_class(category: str) -> SemanticClass:
    """Class of an object's category ('tree' -> VEGETATION); OTHER where it has none."""
    return _CLASS_OF.get(category, SemanticClass.OTHER)


def class_table(categories: Sequence[str]) -> NDArray[np.uint8]:
    """(1 + objects,) class by identity: 0 is the ground, the objects follow."""
    return np.array([SemanticClass.GROUND, *(semantic_class(one) for one in categories)], dtype=np.uint8)
