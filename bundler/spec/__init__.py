"""The content of bundle.yaml and the options of a build: models, validation, and what is generated from them."""
