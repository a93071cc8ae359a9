"""Groups in a graph of likeness, and how groupings are compared: pure functions."""

from __future__ import annotations

import math
import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cairnloop.upkeep.communities import arrange, named, settle, worth
from flask_cairnloop.upkeep.evaluation import adjusted_rand, v_measure

Graph = dict[int, dict[int, float]]


def graph_of(edges: dict[tuple[int, int], float], nodes: int) -> Graph:
    graph: Graph = {node: {} for node in range(1, nodes + 1)}
    for (one, two), weight in edges.items():
        graph[one][two] = graph[two][one] = weight
    return graph


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes = draw(st.integers(1, 14))
    pairs = list(combinations(range(1, nodes + 1), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return graph_of({pair: draw(st.floats(0.05, 2.0)) for pair in chosen}, nodes)


@given(graphs(), st.floats(0.01, 1.5))
def test_arranging_puts_each_node_in_one_group_and_is_never_worse_than_leaving_all_alone(
    graph: Graph, toll: float
) -> None:
    groups = arrange(graph, graph, toll)
    assert set(groups) == set(graph)
    assert worth(graph, groups, toll) >= worth(graph, {node: node for node in graph}, toll) - 1e-9
    assert arrange(graph, graph, toll) == groups


@given(graphs(), st.floats(0.01, 1.5), st.integers(0, 60))
def test_settling_never_makes_a_grouping_worse(graph: Graph, toll: float, most: int) -> None:
    groups = {node: node % 3 + 100 for node in graph}
    sizes = {group: list(groups.values()).count(group) for group in groups.values()}
    before = worth(graph, groups, toll)
    settle(graph, groups, sizes, toll, graph, most=most)
    assert set(groups) == set(graph)
    assert worth(graph, groups, toll) >= before - 1e-9
    assert {group: size for group, size in sizes.items() if size} == {
        group: list(groups.values()).count(group) for group in groups.values()
    }


@given(graphs(), st.floats(0.01, 1.5))
def test_a_closed_group_takes_in_nobody_but_the_guest(graph: Graph, toll: float) -> None:
    groups = {node: 100 if node % 2 else 200 for node in graph}
    inside = {node for node, group in groups.items() if group == 200}
    sizes = {100: len(graph) - len(inside), 200: len(inside)}
    settle(graph, groups, sizes, toll, graph, most=100, closed={200}, guest=1)
    assert {node for node, group in groups.items() if group == 200} <= inside | {1}


@given(st.dictionaries(st.integers(1, 30), st.tuples(st.integers(1, 5), st.integers(50, 55)), min_size=1))
def test_groups_keep_their_names(given_groups: dict[int, tuple[int, int]]) -> None:
    fresh = {node: fresh for node, (fresh, _) in given_groups.items()}
    known = {node: known for node, (_, known) in given_groups.items()}
    names = named(fresh, known)
    same = lambda groups: {frozenset(n for n in groups if groups[n] == g) for g in groups.values()}  # noqa: E731
    assert same(names) == same(fresh)
    assert named(known, known) == known


def test_two_cliques_with_a_thin_bridge_are_two_groups() -> None:
    edges = {pair: 1.0 for side in ((1, 2, 3, 4), (5, 6, 7, 8)) for pair in combinations(side, 2)}
    groups = arrange(graph_of({**edges, (4, 5): 0.3}, 8), range(1, 9), 0.2)
    assert len({groups[n] for n in (1, 2, 3, 4)}) == len({groups[n] for n in (5, 6, 7, 8)}) == 1
    assert groups[1] != groups[8]


@pytest.mark.parametrize(
    ("labels", "clusters", "v", "rand"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0, 1.0),
        ([0, 0, 1, 1], [0, 0, 1, 2], 0.8, 4 / 7),
        ([0, 0, 1, 2], [0, 0, 1, 1], 0.8, 4 / 7),
        ([0, 0, 1, 1], [0, 1, 0, 1], 0.0, -0.5),
        ([0, 0, 0, 0], [0, 1, 2, 3], 0.0, 0.0),
        ([0], [5], 1.0, 1.0),
    ],
)
def test_known_values(labels: list[int], clusters: list[int], v: float, rand: float) -> None:
    assert math.isclose(v_measure(labels, clusters), v, abs_tol=1e-12)
    assert math.isclose(adjusted_rand(labels, clusters), rand, abs_tol=1e-12)


def test_chance_agrees_no_more_than_chance() -> None:
    draw = random.Random(7)  # noqa: S311
    labels, clusters = [draw.randrange(9) for _ in range(3000)], [draw.randrange(9) for _ in range(3000)]
    assert abs(adjusted_rand(labels, clusters)) < 0.01
    assert v_measure(labels, clusters) < 0.02
