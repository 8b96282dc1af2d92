"""Worker processes, and keeping the output of libraries off the terminal."""
