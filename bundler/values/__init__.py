"""Values that the stages of a build hand to each other. Nothing here depends on a stage."""
