"""Config files of tensorflow_model_server as typed values."""
