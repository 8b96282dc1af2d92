"""OpenTelemetry traces of the client and the embedded server (`pip install 'tfbundle[otel]'`).

    names.py        names of attributes, and values that an exporter can write
    settings.py     checks of the OTEL_* environment variables
    provider.py     where spans go: the application's tracer provider, or one from the environment
    exporter.py     an exporter whose collector may be away: one line in the log, no delay at the end

The spans themselves are made in `serving.client.tracing` and `serving.server.observability.tracing`. Importing this package
imports no package of OpenTelemetry.
"""
