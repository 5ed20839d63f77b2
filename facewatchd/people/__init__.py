"""What users said of people: names, and statements about faces."""
