"""The studies and trials of a runs folder, as `ablate.studies` shows and removes them."""
