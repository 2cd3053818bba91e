"""projections: part of evertrain."""
