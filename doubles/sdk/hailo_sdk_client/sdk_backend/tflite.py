"""TFLite files as objects: read, cut, change, write. LiteRT's own schema does the reading."""

from __future__ import annotations

import numpy as np


def schema():
    """The generated classes of TFLite's schema, from LiteRT or from TensorFlow."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        from tensorflow.lite.python import schema_py_generated
    return schema_py_generated


class Network:
    """A TFLite file of one subgraph.

    Tensors are found by their names, operators by the name of the tensor that they make.
    """

    def __init__(self, content: bytes):
        self._schema = schema()
        self._model = self._schema.ModelT.InitFromObj(self._schema.Model.GetRootAs(bytearray(content), 0))
        self._model.signatureDefs = None  # would name tensors that are cut off
        self.graph = self._model.subgraphs[0]
        self.names = [tensor.name.decode() for tensor in self.graph.tensors]
        kinds = {
            number: name
            for name, number in vars(self._schema.BuiltinOperator).items()
            if isinstance(number, int)
        }
        self._codes = [
            kinds.get(max(code.deprecatedBuiltinCode, code.builtinCode), "?")
            for code in self._model.operatorCodes
        ]

    @property
    def input(self):
        """The input's tensor: name, shape, shapeSignature, type."""
        return self.graph.tensors[self.graph.inputs[0]]

    @property
    def outputs(self) -> list[str]:
        return [self.names[index] for index in self.graph.outputs]

    def kind(self, operator) -> str:
        """CONV_2D, ADD, ..."""
        return self._codes[operator.opcodeIndex]

    def maker(self, name: str):
        """The operator that makes a tensor."""
        return next(operator for operator in self.graph.operators if self.names[operator.outputs[0]] == name)

    def constant(self, index: int) -> np.ndarray | None:
        """A tensor's numbers as float32, to be changed in place; None for a tensor that an operator makes."""
        tensor = self.graph.tensors[index]
        data = self._model.buffers[tensor.buffer].data
        if data is None or tensor.type != self._schema.TensorType.FLOAT32:
            return None
        return data.view("<f4").reshape(tensor.shape)

    def is_quantized(self) -> bool:
        kinds = self._schema.TensorType
        return any(tensor.type in (kinds.INT8, kinds.UINT8, kinds.INT16) for tensor in self.graph.tensors)

    def is_float(self) -> bool:
        """Whether the input is float32."""
        return self.input.type == self._schema.TensorType.FLOAT32

    def end_at(self, names: list[str]) -> None:
        """Cut off all that these tensors do not need."""
        self.graph.outputs = [self.names.index(name) for name in names]
        needed, kept = set(self.graph.outputs), []
        for operator in reversed(self.graph.operators):
            if operator.outputs[0] in needed:
                needed.update(operator.inputs)
                kept.append(operator)
        self.graph.operators = kept[::-1]

    def round_tensors(self, ranges: dict[str, tuple[float, float, int]]) -> None:
        """Round tensors, by (lowest, highest, bits), with TFLite's own FAKE_QUANT; a rounded tensor is called
        NAME/rounded.
        """
        code, options = len(self._codes), self._schema.BuiltinOptions.FakeQuantOptions
        self._codes.append("FAKE_QUANT")
        number = self._schema.BuiltinOperator.FAKE_QUANT
        self._model.operatorCodes.append(
            _made(self._schema.OperatorCodeT(), deprecatedBuiltinCode=number, builtinCode=number, version=1)
        )
        operators, rounded = [], {}
        for operator in self.graph.operators:
            operator.inputs = [rounded.get(index, index) for index in operator.inputs]
            operators.append(operator)
            made = operator.outputs[0]
            if self.names[made] in ranges:
                low, high, bits = ranges[self.names[made]]
                rounded[made] = len(self.names)
                old = self.graph.tensors[made]
                new = _made(
                    self._schema.TensorT(),
                    shape=old.shape,
                    type=old.type,
                    buffer=0,
                    name=old.name + b"/rounded",
                )
                self.graph.tensors.append(new)
                self.names.append(new.name.decode())
                how = _made(
                    self._schema.FakeQuantOptionsT(),
                    min=min(low, 0.0),
                    max=max(high, 1e-6),
                    numBits=bits,
                    narrowRange=False,
                )
                step = _made(
                    self._schema.OperatorT(), opcodeIndex=code, inputs=[made], outputs=[rounded[made]]
                )
                operators.append(_made(step, builtinOptionsType=options, builtinOptions=how))
        self.graph.operators = operators
        self.graph.outputs = [rounded.get(index, index) for index in self.graph.outputs]

    def content(self) -> bytes:
        """The file."""
        import flatbuffers

        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _made(thing, **values):
    for name, value in values.items():
        setattr(thing, name, value)
    return thing
