"""What every other package may use: names, identity, levels, events, errors. Only the standard library."""
