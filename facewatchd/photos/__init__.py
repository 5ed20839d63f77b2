"""Files and their pixels: which files are photos, how they are read, and how each format is decoded."""
