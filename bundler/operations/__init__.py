"""The work behind commands other than build, one module per command; `bundler.cli` adds options and output."""
