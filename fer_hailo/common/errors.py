"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Bad input. Its message is one line: what is wrong, and what to do about it. Ends a command with exit status 2."""
