"""Grids of configurations and seeds: planned, run, and summed up."""
