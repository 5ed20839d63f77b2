"""Workers that examine paths, the one thread that writes the catalog, and the one that maintains the index."""
