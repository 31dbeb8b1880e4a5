"""A model file, in whatever format, as one classifier. Each backend is imported when it is asked for."""
