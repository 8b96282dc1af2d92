"""What a server reports about itself: its log, its metrics and the log of sampled requests."""
