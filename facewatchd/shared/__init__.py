"""The shared engine: what machines tell each other of the faces on their photos, by way of a server that holds them."""
