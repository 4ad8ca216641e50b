"""What the runs say of each factor: contrasts, margins, interactions, main effects, and their verdicts."""
