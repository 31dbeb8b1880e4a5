"""The fixtures of tests/ that tests of networks use."""

from conftest import inside, sample_set, shared, undrawn  # noqa: F401
