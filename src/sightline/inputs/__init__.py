"""From what a person hands over to features: parse, open, preprocess, plan, pad."""
