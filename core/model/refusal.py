"""A base model that is refused."""


class BaseRefused(ValueError):
    """What is wrong with a base model, where, and what to do."""
