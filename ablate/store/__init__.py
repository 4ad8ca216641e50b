"""Run directories, in a folder or in an object store: what is known of each trial, and who works on it."""
