"""The commands: each parses its flags, makes one call into the library and gives the exit status.

Nothing imports them.
"""
