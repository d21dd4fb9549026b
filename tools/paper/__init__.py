"""What gin/paper/*.gin say of themselves: `python -m tools.paper`."""
