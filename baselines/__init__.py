"""What GradMAP is compared with."""
