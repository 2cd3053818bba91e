"""The store of backups, part of evertrain: content-addressed, on a folder or any fsspec file system."""
