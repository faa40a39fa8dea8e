"""A model's stages, from the stem to the head, and the parts that lie between two of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, fx, nn

from bench.errors import StrategyError

STEM, HEAD = "stem", "head"
_POOLING = (nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Stage:
    """Consecutive modules of a model. name: "stem", "stage1", ..., "head". modules: their names, in the model's order."""

    name: str
    modules: tuple[str, ...]


def find_stages(model: nn.Module, heads: Iterable[str]) -> tuple[Stage, ...]:
    """Divide a model into its stages, in the order in which its modules are declared.

    heads: the keys of its state dict that have one row per class, see head_keys. The modules that hold them are the head. Before
    it, containers that hold all further blocks (`features`, `encoder.layers`) are opened. A run of plain layers before the first
    block is the stem, every further block, or group of blocks, is a stage. A run of plain layers within belongs to the stage that
    follows, and the last run to the stage before it. A model of plain layers alone (VGG) has a stage up to each pooling layer.
    """
    owners = {key.rpartition(".")[0] for key in heads}
    units = list(_open(model, "", owners))
    stages: list[list[str]] = []
    run: list[str] = []
    plain = not any(_is_block(module) for name, module in units if name not in owners)
    for name, module in units:
        if name in owners:
            continue
        run.append(name)
        if _is_block(module) or (plain and isinstance(module, _POOLING)):
            begun = stages or plain
            if not begun and len(run) > 1:  # the first block comes after a stem
                stages.append(run[:-1])
                run = run[-1:]
            elif not begun:
                stages.append([])  # a model that begins with a block has a stem without modules
            stages.append(run)
            run = []
    if run:
        stages[-1].extend(run) if stages else stages.append(run)
    named = [Stage(STEM if n == 0 else f"stage{n}", tuple(modules)) for n, modules in enumerate(stages)]
    return (*named, Stage(HEAD, tuple(name for name, _ in units if name in owners)))


def _open(module: nn.Module, name: str, owners: set[str]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that a model is made of, with containers opened that hold the head or all blocks."""
    children = [(f"{name}.{child}" if name else child, each) for child, each in module.named_children()]
    blocks = [each for label, each in children if _is_block(each) and not _holds(label, owners)]
    for label, each in children:
        if label in owners:
            yield label, each
        elif (
            _holds(label, owners)
            or isinstance(each, nn.ModuleList)
            or (blocks == [each] and any(True for _ in each.children()))
            or (not blocks and isinstance(each, nn.Sequential) and len(each) > 4)
        ):
            yield from _open(each, label, owners)
        else:
            yield label, each


def _holds(label: str, owners: set[str]) -> bool:
    return any(owner == label or owner.startswith(f"{label}.") for owner in owners)


def _is_block(module: nn.Module) -> bool:
    """Whether a module has parts that have parts themselves: more than a layer with its normalization and activation."""
    return any(any(True for _ in child.children()) for child in module.children())


class Parts:
    """A model cut between its stages. The parts share the model's modules: what one trains, all see.

    Traced by torch.fx, which takes models without control flow that depends on values.
    """

    def __init__(self, model: nn.Module, stages: Sequence[Stage], made: Hashable = None) -> None:
        """made: of what the model is made, equal for models whose parts cost the same; None: no other one is like it."""
        self.model = model
        self.made = made
        self.stages = tuple(stages)
        self.names = tuple(stage.name for stage in stages)

    def place(self, name: str, asking: str = "freezing") -> int:
        """Return how many stages lie up to and including the named one. asking: for the message.

        Raises StrategyError for an unknown name.
        """
        if name not in self.names[:-1]:
            raise StrategyError(
                f"{asking}: the model has no stage {name!r} before its head, expected one of {', '.join(self.names[:-1])}. "
                "Change it; bench flops MODEL --stages lists them."
            )
        return self.names.index(name) + 1

    def between(self, begin: int, end: int | None = None, taps: Sequence[int] | None = None) -> nn.Module:
        """Return the part after the first `begin` stages and up to `end` (None: the model's end), in the model's present mode.

        It takes what the stages before it return, and returns what the ones after it take: features, or the logits. taps: places
        from `begin` to `end`; it then returns a pair: that, and a list of what leaves the stages before each of them.
        Raises StrategyError if the model cannot be traced, or if more than one value crosses a cut.
        """
        if begin == 0 and end is None and taps is None:
            return self.model
        try:
            graph = fx.Tracer().trace(self.model)
        except Exception as cause:  # whatever a model's forward raises when it is given a proxy
            raise StrategyError(
                f"{type(self.model).__name__} cannot be cut into stages ({type(cause).__name__}: "
                f"{(str(cause).splitlines() or [''])[0][:100]}), which freezing, fitted heads and an objective's "
                "stages need. Choose another model, or NoFreezing() and RandomHead()."
            ) from cause
        nodes = list(graph.nodes)
        first, last = self._cut(nodes, begin), self._cut(nodes, end)
        entering = self._crossing(nodes, first, begin)
        leaving = self._crossing(nodes, last, end)
        part, copies = fx.Graph(), {}
        copies[entering] = part.placeholder("x")
        for node in nodes[first:last]:
            if node.op not in ("placeholder", "output"):
                copies[node] = part.node_copy(node, lambda each: copies[each])
        if taps is None:
            part.output(copies[leaving])
        else:
            tapped = [self._crossing(nodes, self._cut(nodes, place), place) for place in taps]
            part.output((copies[leaving], [copies[node] for node in tapped]))
        return fx.GraphModule(self.model, part)

    def _cut(self, nodes: list[fx.Node], stages: int | None) -> int:
        """Return the place of the first node that belongs to a stage after the first `stages`."""
        if stages is None:
            return len(nodes)
        if stages == 0:
            return 0
        later = [name for stage in self.stages[stages:] for name in stage.modules]
        return next(place for place, node in enumerate(nodes) if _belongs(node, later))

    def _crossing(self, nodes: list[fx.Node], place: int, stages: int | None) -> fx.Node:
        """Return the one value that is computed before `place` and used from there on."""
        if place == 0:
            return nodes[0]
        if place == len(nodes):
            return nodes[-1].all_input_nodes[0]
        before = set(nodes[:place])
        used = {used: None for node in nodes[place:] for used in node.all_input_nodes if used in before}
        if len(used) != 1:
            assert stages is not None
            raise StrategyError(
                f"{type(self.model).__name__} cannot be cut after {self.names[stages - 1]}: {len(used)} values cross "
                "there, expected 1. Choose another stage."
            )
        return next(iter(used))

    def parameters(self, begin: int) -> list[nn.Parameter]:
        """Return the parameters after the first `begin` stages, in the model's order."""
        names = [name for stage in self.stages[begin:] for name in stage.modules]
        if begin == 0:
            return list(self.model.parameters())
        return [
            parameter
            for key, parameter in self.model.named_parameters()
            if any(key.startswith(f"{name}.") for name in names)
        ]

    def head(self) -> nn.Linear:
        """Return the head. Raises StrategyError unless it is one linear layer."""
        modules = self.stages[-1].modules
        layer = self.model.get_submodule(modules[0]) if len(modules) == 1 else None
        if not isinstance(layer, nn.Linear):
            raise StrategyError(
                f"head: {type(self.model).__name__} ends in {', '.join(modules)}, expected one linear layer. "
                "Choose another model, or RandomHead()."
            )
        return layer


def _belongs(node: fx.Node, names: Iterable[str]) -> bool:
    target = str(node.target)
    return node.op in ("call_module", "get_attr") and any(
        target == name or target.startswith(f"{name}.") for name in names
    )


def as_features(output: object) -> Tensor:
    """Return what a part of a model returned. Raises StrategyError unless it is one tensor."""
    if not isinstance(output, Tensor):
        raise StrategyError(f"freezing: the stages return {type(output).__name__}, expected a tensor. Choose others.")
    return output
