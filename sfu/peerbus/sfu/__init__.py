"""The SFU: a worker that forwards media and data between the participants of a call and decodes nothing."""
