"""Runs to report on, from MLflow, a CSV file, or the numbers that the papers printed: one row per run."""
