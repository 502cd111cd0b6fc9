"""Tables of probabilities in, answers, scores and figures out."""
