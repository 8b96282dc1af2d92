"""The engine that runs units on a Ray cluster.

- `local_ray`: a cluster on this machine, for one build
- `session`: the connection to a cluster, and what can go wrong with it
- `courier`: what runs in the cluster without tfbundle; it starts tasks and hands on what they yield
- `node`: what runs on the nodes with tfbundle; it unpacks the sources and builds a unit
- `parcels`: folders as chunks of a tar archive
- `sources`: the sources of the units, as parcels
- `engine`: the engine
"""
