"""What is said, without HTTP."""

import unicodedata

GREETINGS = {"de": "Guten Tag", "en": "Hello", "es": "Hola", "fr": "Bonjour", "ja": "こんにちは"}
DEFAULT = "en"
MAX_NAME = 100


def choose_language(accept):
    """Returns the best language we have for an Accept-Language header (RFC 9110,
    12.5.4). Parts that cannot be read count for nothing."""
    best, best_quality = DEFAULT, 0.0
    for part in (accept or "").split(","):
        tag, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        language = tag.lower().split("-")[0]
        if language in GREETINGS and best_quality < quality <= 1.0:
            best, best_quality = language, quality
    return best


def greet(name, language=DEFAULT):
    """Greets name. Raises ValueError for a name that cannot be said."""
    name = unicodedata.normalize("NFC", name).strip()
    if not name:
        raise ValueError("the name is empty")
    if len(name) > MAX_NAME:
        raise ValueError(f"the name is longer than {MAX_NAME} characters")
    if not name.isprintable():
        raise ValueError("the name has characters that cannot be shown")
    return f"{GREETINGS[language]}, {name}!"
