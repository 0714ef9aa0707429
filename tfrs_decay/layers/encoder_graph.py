"""An encoder's computation written out, so that what it multiplies can be replaced.

A SavedModel holds functions within functions, and each reads its weights itself. Here
they are written out as one graph whose weights are inputs: an adapter hands in a weight
of its own making, and matrix products can be computed in half precision, whatever
precision the module was saved in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class EncoderGraph:
    """A function of inputs and weights, of a module that holds its weights.

    Args:
        call: The module: inputs to outputs, nested as you like.
        inputs: An example of the inputs; only its structure, dtypes and ranks matter.
        products: Floating dtype of the matrix products. All else, and what comes out,
            is as the module has it.

    Attributes:
        multiplied: The variables that are an operand of a matrix product, as they are
            or in another shape.
    """

    def __init__(
        self, call: Callable[[Any], Any], inputs: Any, products: tf.DType = tf.float32
    ) -> None:
        specs = [
            tf.TensorSpec([None] * one.shape.rank, one.dtype)
            for one in tf.nest.flatten(inputs)
        ]
        traced = tf.function(
            lambda *flat: call(tf.nest.pack_sequence_as(inputs, flat))
        ).get_concrete_function(*specs)
        # Taken over from around it; a graph that is written out warns of them.
        traced.graph.clear_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
        self._traced = traced
        self._graph = _write_out(
            traced, lower_control_flow=False, aggressive_inlining=True
        )
        self._nodes = {node.name: node for node in self._graph.node}
        by_handle = {id(one.handle): one for one in traced.graph.variables}
        self._captured = [
            (inside.name, outside, by_handle.get(id(outside)))
            for outside, inside in traced.graph.captures
        ]
        variables = {
            _node(name): one for name, _, one in self._captured if one is not None
        }
        read_from = {
            name: variables.get(self._behind(node.input[0]))
            for name, node in self._nodes.items()
            if node.op == "ReadVariableOp"
        }
        self._reads = {name: one for name, one in read_from.items() if one is not None}
        multiplied = (read_from.get(self._behind(one)) for one in self._operands())
        self.multiplied = list(
            {id(one): one for one in multiplied if one is not None}.values()
        )
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
            fed[name] = graph.capture(outside)
            if variable is not None:
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

    def _behind(self, name: str) -> str:
        """The node whose values an input is, whatever hands them on."""
        node = self._nodes[_node(name)]
        while node.op in _SAME_VALUES:
            node = self._nodes[_node(node.input[0])]
        return str(node.name)

    def _operands(self) -> list[str]:
        """What is multiplied."""
        return [
            one
            for node in self._graph.node
            if node.op in _PRODUCTS
            for one in node.input
            if not one.startswith("^")
        ]

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


def _node(tensor: str) -> str:
    """The node that a tensor's or an input's name belongs to."""
    return tensor.lstrip("^").partition(":")[0]
