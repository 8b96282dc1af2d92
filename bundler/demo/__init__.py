"""Two real models end to end: built into one bundle, served, and smoke-tested (`tfbundle demo`)."""
