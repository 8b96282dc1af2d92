"""Handing a bundle over: to a registry of OCI artifacts, to a bucket, with a signature and the papers of its supply chain."""
