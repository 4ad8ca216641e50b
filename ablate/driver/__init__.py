"""One run of a study: preflight checks, the trials as they come, progress, and what is shown at the end."""
