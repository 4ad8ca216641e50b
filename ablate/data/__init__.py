"""Data sets: read, checked, split, augmented, and handed out in batches."""
