"""File system events, by inotify through watchdog, and the polling of directories where inotify is not enough."""
