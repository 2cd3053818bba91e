"""events: part of evertrain."""
