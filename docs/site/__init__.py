"""The documentation as a web site: `python -m docs.site` (`make docs`) builds it into build/site."""
