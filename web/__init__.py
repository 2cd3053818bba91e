"""web: part of evertrain."""
