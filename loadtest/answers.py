"""What ends a measurement: an answer that is wrong, or none."""


class WrongAnswerError(Exception):
    """Something was told wrongly, or not at all, so it means nothing how fast or how cheap that was."""


class Silence(Exception):
    """Nothing came for too long."""
