"""The deploy bundle, which the three machines exchange, and what belongs to a model file. numpy and the
standard library only.
"""
