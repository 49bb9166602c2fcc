"""What is asked: the matrix file, its jobs, and the catalogue they choose from."""
