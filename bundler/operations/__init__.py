"""Commands that are not a build, one module each: what they do, without the command line around it."""
