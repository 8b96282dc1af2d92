"""`tfbundle demo`: two real models, built into one bundle, served, and smoke-tested."""
