"""What somebody else's files may do here: SECURITY.md names these tests."""
