"""OpenAPI documents that describe the REST interface of served models: paths, and the JSON schema of each request and answer.

The rules are TensorFlow Serving's, which `serving.protocol.json_codec` follows: the values that a dtype takes, rows and columns,
and the dtypes that JSON cannot carry.
"""
