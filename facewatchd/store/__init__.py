"""Storage: the catalog in SQLite, the index as a cache of it, the search in both, and the data directory."""
