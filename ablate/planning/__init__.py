"""What a line asks for: its cells, their trials, what those will take, and how more follow from results."""
