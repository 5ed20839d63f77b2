"""How many of a question's matches are to be expected wrong: estimated from a sample of the gallery."""
