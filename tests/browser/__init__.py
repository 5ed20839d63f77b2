"""The page in a real browser. A package, so that the browser ends before a worker goes on with other tests."""
