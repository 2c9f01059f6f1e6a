"""Are two models equal? Knows no law, so that no fault of a law can hide here."""
