"""Worker processes, their logs and reports, and keeping the output of libraries off the terminal."""
