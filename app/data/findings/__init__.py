"""What a source shows before training: its layout, columns and roles, and findings about its rows."""
