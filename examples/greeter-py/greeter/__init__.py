"""A small web service that greets, in the language that the client asks for."""
