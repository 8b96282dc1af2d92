"""Builds of many models: units of work, engines that run them, the cache of their results, and shards.

A unit is one model. An engine takes units and yields their outcomes; the result of a unit is an entry of the cache. The bundle is
put together from entries and published at once.
"""
