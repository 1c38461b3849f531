"""What is answered where: create, read, cancel, and per dialect what it alone has."""
