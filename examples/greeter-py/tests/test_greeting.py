import unittest

from greeter import greeting


class ChooseLanguage(unittest.TestCase):
    def test_headers(self):
        for accept, want in [
            (None, "en"),
            ("", "en"),
            ("de", "de"),
            ("de-AT", "de"),
            ("DE", "de"),
            ("xx, fr;q=0.5", "fr"),
            ("en;q=0.2, fr;q=0.9, de;q=0.8", "fr"),
            ("fr, de", "fr"),
            ("fr;q=0", "en"),
            ("fr;q=loud", "en"),
            ("fr;q=7", "en"),
            (";;,,", "en"),
        ]:
            with self.subTest(accept=accept):
                self.assertEqual(greeting.choose_language(accept), want)


class Greet(unittest.TestCase):
    def test_says(self):
        self.assertEqual(greeting.greet("Ada"), "Hello, Ada!")
        self.assertEqual(greeting.greet(" Ada ", "de"), "Guten Tag, Ada!")
        self.assertEqual(greeting.greet("Zoe\u0308", "fr"), "Bonjour, Zo\u00eb!")
        self.assertEqual(greeting.greet("a" * greeting.MAX_NAME), "Hello, " + "a" * greeting.MAX_NAME + "!")

    def test_refuses(self):
        for name, why in [("", "empty"), ("  ", "empty"), ("a" * (greeting.MAX_NAME + 1), "longer"), ("a\x1b[31m", "shown")]:
            with self.subTest(name=name), self.assertRaisesRegex(ValueError, why):
                greeting.greet(name)
