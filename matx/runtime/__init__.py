"""What every long command needs: a folder on disk that can be continued, and what is said on the way."""
