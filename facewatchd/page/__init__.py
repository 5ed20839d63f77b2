"""The local web page: a client of the daemon's socket that a browser on this machine looks at."""
