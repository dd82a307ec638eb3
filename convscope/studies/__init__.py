"""Studies: many runs of one question, and the sentences that their numbers support."""
