"""Groups in a graph of likeness: which questions belong together. Pure functions, which know no database.

A grouping is good when much likeness lies within groups: its worth is the weight of all edges inside them, less a toll
for each pair of members (the constant Potts model). The toll says how close a group has to be, whatever else there is:
what is far away changes nothing, so a part of the graph can be arranged by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

Graph = Mapping[int, Mapping[int, float]]  # weights of edges, both ways
Groups = Mapping[int, int]  # the group of each node

ROUNDS: Final = 12  # of moving all nodes; few graphs need half as many
LEAST: Final = 1e-9  # of a gain; less is the rounding of sums


def worth(graph: Graph, groups: Groups, toll: float) -> float:
    """What a grouping of these nodes is worth. Edges to other nodes do not count."""
    inside = sum(
        weight
        for node, edges in graph.items()
        for other, weight in edges.items()
        if node < other and other in groups and groups[node] == groups[other]
    )
    sizes: dict[int, int] = {}
    for group in groups.values():
        sizes[group] = sizes.get(group, 0) + 1
    return inside - toll * sum(size * (size - 1) / 2 for size in sizes.values())


def settle(
    graph: Graph,
    groups: dict[int, int],
    sizes: dict[int, int],
    toll: float,
    queue: Iterable[int],
    *,
    most: int,
    closed: Collection[int] = (),
    guest: int | None = None,
) -> None:
    """Move single nodes to where they fit best, beginning with some, and go on with the neighbours of those that moved.

    Args:
        graph: the edges of the nodes that may move, to each other and to those that stay.
        groups: of all of them; changed. One that fits nowhere gets a group of its own, which is called ``-node - 1``.
        sizes: how many nodes each group has, here and elsewhere; changed.
        most: nodes looked at; then it stops, whatever is left.
        closed: groups that take nobody in but the guest.
    """
    waiting = dict.fromkeys(queue)
    while waiting and most > 0:
        most -= 1
        node = next(iter(waiting))
        del waiting[node]
        here = groups[node]
        to = _best(graph[node], groups, sizes, toll, here, () if node == guest else closed)
        if to is None:
            to = -node - 1
        if to == here:
            continue
        groups[node] = to
        sizes[here] -= 1
        sizes[to] = sizes.get(to, 0) + 1
        waiting.update((other, None) for other in graph[node] if other in graph and groups[other] != to)


def _best(
    edges: Mapping[int, float],
    groups: Groups,
    sizes: Mapping[int, int],
    toll: float,
    here: int,
    closed: Collection[int],
) -> int | None:
    """The group a node fits best; ``None`` for one of its own."""
    ties: dict[int, float] = {}
    for other, weight in edges.items():
        if (group := groups.get(other)) is not None:
            ties[group] = ties.get(group, 0.0) + weight
    stays = ties.get(here, 0.0) - toll * (sizes[here] - 1)
    best, gain = (here, stays) if stays >= -LEAST else (None, 0.0)
    for group, tie in ties.items():
        if group != here and group not in closed and tie - toll * sizes[group] > gain + LEAST:
            best, gain = group, tie - toll * sizes[group]
    return here if best is None and sizes[here] == 1 else best


def arrange(graph: Graph, nodes: Iterable[int], toll: float) -> dict[int, int]:
    """Group nodes anew, each from a group of its own, by the edges between them.

    Nodes move one by one, then the groups that came of it as wholes, until nothing gets better (Louvain).

    Returns:
        A group for each, which bears the number of one of its nodes.
    """
    groups = {node: node for node in sorted(nodes)}
    weights = {node: {o: w for o, w in graph.get(node, {}).items() if o in groups} for node in groups}
    members = dict.fromkeys(groups, 1)
    while True:
        labels = _moved(weights, members, toll)
        if len(set(labels.values())) == len(labels):
            return groups
        groups = {node: labels[group] for node, group in groups.items()}
        joined: dict[int, dict[int, float]] = {label: {} for label in labels.values()}
        counts = dict.fromkeys(joined, 0)
        for node, edges in weights.items():
            counts[labels[node]] += members[node]
            into = joined[labels[node]]
            for other, weight in edges.items():
                if labels[other] != labels[node]:
                    into[labels[other]] = into.get(labels[other], 0.0) + weight
        weights, members = joined, counts


def _moved(weights: Graph, members: Mapping[int, int], toll: float) -> dict[int, int]:
    labels = {node: node for node in weights}
    sizes = dict(members)
    for _ in range(ROUNDS):
        changed = False
        for node, edges in weights.items():
            here, own = labels[node], members[node]
            ties: dict[int, float] = {}
            for other, weight in edges.items():
                ties[labels[other]] = ties.get(labels[other], 0.0) + weight
            best, gain = here, ties.get(here, 0.0) - toll * own * (sizes[here] - own)
            for group, tie in ties.items():
                if group != here and tie - toll * own * sizes[group] > gain + LEAST:
                    best, gain = group, tie - toll * own * sizes[group]
            if best != here:
                labels[node] = best
                sizes[here] -= own
                sizes[best] += own
                changed = True
        if not changed:
            break
    return labels


def named(fresh: Groups, known: Groups) -> dict[int, int]:
    """New groups under the names of the old ones they have most of; what is left over gets ``-node - 1`` of one of its.

    Args:
        fresh, known: the new and the old group of each node.
    """
    shared: dict[tuple[int, int], int] = {}
    for node, group in fresh.items():
        shared[group, known[node]] = shared.get((group, known[node]), 0) + 1
    names: dict[int, int] = {}
    for group, name in sorted(shared, key=lambda pair: (-shared[pair], pair[1], pair[0])):
        if group not in names and name not in names.values():
            names[group] = name
    return {node: names.get(group, -group - 1) for node, group in fresh.items()}
