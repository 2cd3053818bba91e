"""The examination: every check on one machine and, where there is one, one workspace."""
