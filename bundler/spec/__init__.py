"""What a user asks for: bundle.yaml, options, and the requests made of them."""
