"""What is kept: the catalog in SQLite, the hnswlib index as a cache of it, and the data directory of both."""
