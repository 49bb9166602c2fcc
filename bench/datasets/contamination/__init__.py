"""What the test images were perhaps seen in before."""
