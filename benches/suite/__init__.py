"""What the sections of `make bench` share. `section` says what a section is."""
