"""The audit put to the test: expert masks, of which many were made faulty."""
