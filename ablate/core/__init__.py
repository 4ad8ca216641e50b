"""What every other package may use: studies, identity, levels, events, errors. It needs the standard library only."""
