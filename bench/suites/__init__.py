"""What is to be run: suite files and the run specs they stand for."""
