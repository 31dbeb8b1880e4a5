"""Damage files of every format by chance, read them as the commands do, and kill commands half-way.

docs/fuzzing.md says what is promised and what was measured.
"""
