"""Linux and systemd: mounts, scheduling, memory, credentials, and files that are replaced whole."""
