"""core: part of evertrain."""
