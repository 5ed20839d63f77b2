"""From a path that may have changed to what the catalog says of it: the workers, and the one thread that writes."""
