"""What the papers claim and printed, and what a study says to each."""
