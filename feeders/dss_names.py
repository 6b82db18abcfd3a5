"""Names of terminals that no two have, and of elements that two have."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence


def unique_names(
    names: Sequence[str], kinds: Sequence[str], elements: Sequence[str]
) -> tuple[str, ...]:
    """Tells terminals of the same name apart, whatever their order.

    Phase 1 of a load `x` and a load of one phase that is called `x.1` are both
    `x.1`. The one that is called so keeps the name; the other's element has its
    class before it, `load.x.1` to `load.x.3`, as often as it takes.

    Args:
        names: Name of each terminal as it would be alone.
        kinds: Class of its element.
        elements: Name of its element.

    Returns:
        The names, the same ones where no two are.
    """
    of_element: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for index, key in enumerate(zip(kinds, elements, strict=True)):
        of_element[key].append(index)
    # Elements of one phase come first, and those with their class in the name before loads.
    order = sorted(of_element, key=lambda key: (len(of_element[key]) > 1, key[0] == "load"))
    unique, taken = list(names), set[str]()
    for key in order:
        own = [names[index] for index in of_element[key]]
        while not taken.isdisjoint(own):
            own = [f"{key[0]}.{name}" for name in own]
        taken.update(own)
        for index, name in zip(of_element[key], own, strict=True):
            unique[index] = name
    return tuple(unique)


def duplicate_faults(names: Iterable[str]) -> list[str]:
    """One phrase if elements have the same name: OpenDSS finds but the first of them by it.

    Args:
        names: Names of the elements, with their classes.
    """
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if not twice:
        return []
    return [f"several elements are called {', '.join(twice)}: a name for each is expected"]
