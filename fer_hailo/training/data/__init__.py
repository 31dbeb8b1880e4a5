"""From a folder, zip or CSV to uint8 arrays: sources, decoding and cache, cleaning, split, balancing,
feeding.
"""
