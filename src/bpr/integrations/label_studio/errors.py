"""What is wrong with a request of Label Studio."""


class TaskError(ValueError):
    """A request, task or image that cannot be used; the message, one line, names it and the remedy."""
