"""Golden data, and the rule by which answers are compared with it."""
