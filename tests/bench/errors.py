"""The error class of the bench."""


class CannotRun(Exception):
    """A measurement is not possible. The message says what is missing, or which contender failed, with its output."""
