"""`python -m bundler` is `tfbundle`."""

from bundler.cli import main

if __name__ == "__main__":
    main()
