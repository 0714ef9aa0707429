"""An encoder's computation written out, so that what it multiplies can be replaced.

A SavedModel holds functions within functions, and each reads its weights itself. Here
they are written out as one graph whose weights are inputs: an adapter hands in a weight
of its own making, and matrix products can be computed in half precision, whatever
precision the module was saved in.

The bodies of loops and branches (`tf.while_loop`, `tf.cond`) stay functions of their
own, in which nothing is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

# Not public, but what `convert_variables_to_constants_v2` is made of in all releases
# that setup.py allows: Grappler writes the functions that are called out.
from tensorflow.python.framework.convert_to_constants import (
    _run_inline_graph_optimization as _write_out,
)

_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum")

_SAME_VALUES = ("Identity", "Reshape", "Cast", "Transpose", "ExpandDims", "Squeeze")
"""What may stand between a weight that is read and a product of it."""

_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
"""What says in its first input which function it calls."""


class EncoderGraph:
    """A function of inputs and weights, of a module that holds its weights.

    Args:
        call: The module: inputs to outputs, nested as you like.
        inputs: An example of the inputs; only its structure, dtypes and ranks matter.
        products: Floating dtype of the matrix products, but of those in loops and
            branches. All else, and what comes out, is as the module has it.
        variables: The module's, where a strategy keeps a copy of each on every device:
            a copy that is found in the graph is taken for the variable.

    Attributes:
        multiplied: The variables that are an operand of a matrix product, as they are
            or in another shape.
        multiplied_within: Those that are an operand within a loop or a branch, where
            they cannot be replaced.
    """

    def __init__(
        self,
        call: Callable[[Any], Any],
        inputs: Any,
        products: tf.DType = tf.float32,
        variables: Sequence[tf.Variable] = (),
    ) -> None:
        specs = [
            tf.TensorSpec([None] * one.shape.rank, one.dtype)
            for one in tf.nest.flatten(inputs)
        ]
        traced = in_a_replica(
            lambda: tf.function(
                lambda *flat: call(tf.nest.pack_sequence_as(inputs, flat))
            ).get_concrete_function(*specs)
        )
        # Taken over from around it; a graph that is written out warns of them.
        traced.graph.clear_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
        self._traced = traced
        self._graph = _write_out(
            traced, lower_control_flow=False, aggressive_inlining=True
        )
        self._nodes = {node.name: node for node in self._graph.node}
        by_handle = {
            id(copy.handle): one
            for one in (*traced.graph.variables, *variables)
            for copy in tf.distribute.get_strategy().experimental_local_results(one)
        }
        self._captured = [
            (inside.name, outside, by_handle.get(id(outside)))
            for outside, inside in traced.graph.captures
        ]
        captured = {
            _node(name): one for name, _, one in self._captured if one is not None
        }
        body = _Body(self._graph.node, captured)
        self._reads = body.reads
        self.multiplied = _distinct(body.multiplied())
        functions = {one.signature.name: one for one in self._graph.library.function}
        self.multiplied_within = _distinct(body.multiplied_within(functions))
        if products != tf.float32:
            self._compute_products_in(products)
        self._run = tf.function(self._imported, reduce_retracing=True)

    def __call__(
        self, inputs: Any, instead: Sequence[tuple[tf.Variable, tf.Tensor]] = ()
    ) -> Any:
        """The module's outputs.

        Args:
            inputs: As those of the example.
            instead: Variables of `multiplied`, and what to compute with instead.
        """
        place = {id(one): number for number, one in enumerate(self.multiplied)}
        return self._run(
            tf.nest.flatten(inputs),
            [place[id(variable)] for variable, _ in instead],
            [tensor for _, tensor in instead],
        )

    def _imported(
        self, inputs: list[tf.Tensor], places: list[int], tensors: list[tf.Tensor]
    ) -> Any:
        graph = tf.compat.v1.get_default_graph()
        fed = {
            inside.name: one
            for inside, one in zip(self._traced.inputs, inputs, strict=False)
        }
        values = {}
        for name, outside, variable in self._captured:
            if variable is None:
                fed[name] = graph.capture(outside)
            else:
                fed[name] = graph.capture(_handle(variable))
                # Also where it is only looked up in: a gradient tape watches what is
                # read.
                values[id(variable)] = tf.convert_to_tensor(variable)
        for place, tensor in zip(places, tensors, strict=True):
            values[id(self.multiplied[place])] = tensor
        for name, variable in self._reads.items():
            fed[f"{name}:0"] = values[id(variable)]
        outputs = tf.graph_util.import_graph_def(
            self._graph,
            {name: one for name, one in fed.items() if _node(name) in self._nodes},
            return_elements=[one.name for one in self._traced.outputs],
            name="encoder",
        )
        return tf.nest.pack_sequence_as(self._traced.structured_outputs, outputs)

    def _compute_products_in(self, dtype: tf.DType) -> None:
        """Has the operands of products cast, and the products cast back.

        A product keeps its old name for what casts it back, so that whatever reads it
        need not know.
        """
        attribute = {
            number: tf.compat.v1.AttrValue(type=one.as_datatype_enum)
            for number, one in enumerate((tf.float32, dtype))
        }
        for node in list(self._graph.node):
            if node.op not in _PRODUCTS or node.attr["T"] != attribute[0]:
                continue
            name = node.name
            for place, one in enumerate(node.input):
                if one.startswith("^"):
                    continue
                cast = self._graph.node.add(
                    name=f"{name}/operand_{place}", op="Cast", input=[one]
                )
                cast.attr["SrcT"].CopyFrom(attribute[0])
                cast.attr["DstT"].CopyFrom(attribute[1])
                node.input[place] = cast.name
            node.name = f"{name}/product"
            node.attr["T"].CopyFrom(attribute[1])
            back = self._graph.node.add(name=name, op="Cast", input=[node.name])
            back.attr["SrcT"].CopyFrom(attribute[1])
            back.attr["DstT"].CopyFrom(attribute[0])
        self._nodes = {node.name: node for node in self._graph.node}


class _Body:
    """The nodes of a graph or of a function in it, and the variables that they read.

    Args:
        nodes: All of them.
        handles: By the name of a node or of an argument, the variable that it hands in.
    """

    def __init__(
        self, nodes: Iterable[Any], handles: Mapping[str, tf.Variable]
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._handles = handles
        found = {
            name: handles.get(self._behind(node.input[0]))
            for name, node in self._nodes.items()
            if node.op == "ReadVariableOp"
        }
        self.reads = {name: one for name, one in found.items() if one is not None}

    def multiplied(self) -> list[tf.Variable]:
        """What is an operand of a product here."""
        operands = (
            self._behind(one)
            for node in self._nodes.values()
            if node.op in _PRODUCTS
            for one in node.input
            if not one.startswith("^")
        )
        return [self.reads[name] for name in operands if name in self.reads]

    def multiplied_within(self, functions: Mapping[str, Any]) -> list[tf.Variable]:
        """What is an operand of a product in the functions that are called here."""
        found: list[tf.Variable] = []
        for node in self._nodes.values():
            given = [one for one in node.input if not one.startswith("^")]
            if node.op in _BRANCHES:
                given = given[1:]
            for name in _called(node):
                function = functions[name]
                arguments = [one.name for one in function.signature.input_arg]
                handles = {
                    argument: self._handles[self._behind(one)]
                    for argument, one in zip(arguments, given, strict=False)
                    if self._behind(one) in self._handles
                }
                body = _Body(function.node_def, handles)
                found += body.multiplied() + body.multiplied_within(functions)
        return found

    def _behind(self, name: str) -> str:
        """The node or argument whose values an input is, whatever hands them on."""
        name = _node(name)
        while name in self._nodes and self._nodes[name].op in _SAME_VALUES:
            name = _node(self._nodes[name].input[0])
        return name


def in_a_replica(compute: Callable[[], Any]) -> Any:
    """What a function gives, also within a strategy's scope.

    There a module's weights have no value: each device has its own copy of them.
    """
    if not tf.distribute.in_cross_replica_context():
        return compute()
    strategy = tf.distribute.get_strategy()
    return strategy.experimental_local_results(strategy.run(compute))[0]


def _handle(variable: tf.Variable) -> tf.Tensor:
    """The handle of the copy that is read here."""
    if tf.distribute.in_cross_replica_context():
        strategy = tf.distribute.get_strategy()
        variable = strategy.experimental_local_results(variable)[0]
    return variable.handle


def _called(node: Any) -> list[str]:
    """The functions that a node calls."""
    return [
        function.name
        for value in node.attr.values()
        for function in (value.func, *value.list.func)
        if function.name
    ]


def _distinct(variables: Iterable[tf.Variable]) -> list[tf.Variable]:
    return list({id(one): one for one in variables}.values())


def _node(tensor: str) -> str:
    """The node that a tensor's or an input's name belongs to."""
    return tensor.lstrip("^").partition(":")[0]
