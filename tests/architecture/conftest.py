"""The workspace of the core's tests serves here as well."""

from tests.core.conftest import made

__all__ = ["made"]
