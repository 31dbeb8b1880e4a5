"""What a network answers when it is computed with whole numbers of 8 or 16 bits, as a model script says:
docs/emulation.md.

float_network: the float TFLite in numpy, and the ranges of its tensors. scheme: how values become whole
numbers. integer: the operators on whole numbers. program: whole networks. precision: what of a model script
is followed. numpy alone.
"""
