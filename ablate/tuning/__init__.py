"""Fair tuning with Optuna: every cell gets the same budget and chooses on validation. Nothing else imports Optuna."""
