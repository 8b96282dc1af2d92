"""What a server is started with: options, the command line that sets them, and the config files that they name."""
