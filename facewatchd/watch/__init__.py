"""What the file system tells while it changes: inotify through watchdog, and directories that must be asked instead."""
