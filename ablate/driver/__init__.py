"""A study is run, or a trial again: preflight checks, the trials as they come, progress, what is shown at the end."""
