"""The REST side of the server, and the playground at `/`."""
