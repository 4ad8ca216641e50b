"""What the runs show of each factor: contrasts, margins, interactions, main effects, and their verdicts."""
