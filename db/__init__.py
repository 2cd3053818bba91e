"""db: part of evertrain."""
