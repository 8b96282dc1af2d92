"""Values that stages hand to each other. They know no stage."""
