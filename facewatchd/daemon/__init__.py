"""The daemon as a process: built, started, supervised, reloaded and stopped."""
