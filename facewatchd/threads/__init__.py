"""What threads need: a readers-writer lock, signs of life, and calls that may never return."""
