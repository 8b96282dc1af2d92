"""Config files of tensorflow_model_server as typed values, read and written as text proto."""
