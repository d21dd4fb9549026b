"""What to compute again when a window of the image changes, and what to keep for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import fx, nn

from registry.attacks._incremental.network import Network
from registry.attacks._incremental.reach import Area

__all__ = ["WindowPlan", "plan_for"]

_LOCAL_BELOW = 0.7
"""A map of which a change touches a larger share is computed anew."""
_PER_ENTRY, _PER_STEP = 45, 3_000_000
"""What moving an entry, and calling one operation more, cost on a CPU, in multiplications."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowPlan:
    """For a window of one side anywhere in the image."""

    network: Network
    areas: Mapping[fx.Node, Area]
    """What to compute again of each map that stays local; whatever is not here is computed whole, or is constant."""
    reads: Mapping[tuple[fx.Node, fx.Node], Area]
    """(node, its input): what the node reads of a map, where that is not just what was computed of it."""
    borders: Mapping[fx.Node, int]
    """The maps to keep, each with so many zeros around it."""
    constants: frozenset[fx.Node]
    steps: Sequence[fx.Node]
    """All others, in order."""
    modules: Mapping[fx.Node, nn.Module]
    work: tuple[float, int]
    """Multiplications for a window, and for what is computed whole."""
    total: int
    """Multiplications of a forward."""

    @property
    def places_a_row(self) -> int:
        """At how many places in a row of the image a window can lie."""
        image = next(node for node in self.areas if node.op == "placeholder")
        return len(self.areas[image].columns.starts)

    def cost(self, images: int, windows: int) -> float:
        """Of evaluating so many images, of each of which so many windows change, in whole forwards: an estimate."""
        moved: float = sum(self._entries(other, area) for (_, other), area in self.reads.items())
        moved += sum(self._entries(node, self.areas[node]) for node in self.borders)
        steps = len(self.areas) * _PER_STEP / images
        local, whole = self.work
        moved = moved * (windows + 1) / 2  # what is read of a map gets the patch of every window
        return (windows * (local + _PER_ENTRY * moved) + whole + steps) / max(self.total, 1)

    @property
    def memory(self) -> int:
        """Bytes that the maps of one image take."""
        shapes = [(self.network.shapes[node], border) for node, border in self.borders.items()]
        return 4 * sum(shape[1] * (shape[2] + 2 * border) * (shape[3] + 2 * border) for shape, border in shapes)

    def _entries(self, node: fx.Node, area: Area) -> int:
        return area.rows.size * area.columns.size * self.network.shapes[node][1]


def plan_for(network: Network, side: int) -> WindowPlan:
    """The plan for square windows of this side."""
    nodes = list(network.traced.graph.nodes)
    constants: set[fx.Node] = set()
    areas: dict[fx.Node, Area] = {}
    for node in nodes:
        inputs = node.all_input_nodes
        if node.op == "placeholder":
            areas[node] = Area.of_window(side, *network.shapes[node][2:])
        elif node.op != "output" and constants.issuperset(inputs):
            constants.add(node)
        else:
            area = _area(network, node, [other for other in inputs if other not in constants], areas)
            if area is not None and area.share < _LOCAL_BELOW:
                areas[node] = area
    reads = {pair: area for node in areas for pair, area in _reads(network, node, areas).items()}
    steps = [node for node in nodes if node not in constants]
    return WindowPlan(
        network=network, areas=areas, reads=reads, borders=_borders(network, areas, reads),
        constants=frozenset(constants), steps=steps,
        modules={node: module for node in steps if (module := network.module(node)) is not None},
        work=(
            sum(network.work(node) * areas[node].share for node in areas),
            sum(network.work(node) for node in nodes if node not in areas),
        ),
        total=sum(network.work(node) for node in nodes),
    )  # fmt: skip


def _area(network: Network, node: fx.Node, inputs: Sequence[fx.Node], areas: Mapping[fx.Node, Area]) -> Area | None:
    """What the change touches of the node's map; None where that is all of it, or unknown."""
    if any(other not in areas for other in inputs) or node.op == "output":
        return None
    slidings = network.sliding(node)
    if slidings is not None:
        return areas[inputs[0]].behind(slidings)
    if not network.pointwise(node) or len({network.shapes[other][2:] for other in inputs}) > 1:
        return None
    area = areas[inputs[0]]
    for other in inputs[1:]:
        area = area.joined(areas[other])
    return area


def _reads(network: Network, node: fx.Node, areas: Mapping[fx.Node, Area]) -> dict[tuple[fx.Node, fx.Node], Area]:
    """What a local node reads of its local inputs, where that is not just what was computed of them."""
    slidings = network.sliding(node)
    found = {}
    for other in node.all_input_nodes:
        if other in areas:
            area = areas[node] if slidings is None else areas[node].before(slidings, *network.shapes[other][2:])
            if not area.equals(areas[other]):
                found[node, other] = area
    return found


def _borders(
    network: Network, areas: Mapping[fx.Node, Area], reads: Mapping[tuple[fx.Node, fx.Node], Area]
) -> dict[fx.Node, int]:
    """The maps to keep, being read beyond the change or by what is computed whole, with their readers' padding."""
    borders: dict[fx.Node, int] = {}
    for node in network.traced.graph.nodes:
        for other in node.all_input_nodes:
            if (node, other) in reads or (node not in areas and other in areas):
                slidings = network.sliding(node) if node in areas else None
                border = max(sliding.padding for sliding in slidings) if slidings else 0
                borders[other] = max(borders.get(other, 0), border)
    return borders
