import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest
import xml.etree.ElementTree as xml


class Server(unittest.TestCase):
    """The real program, asked over HTTP."""

    @classmethod
    def setUpClass(cls):
        environ = os.environ | {"GREETER_LISTEN": "127.0.0.1:0"}
        cls.process = subprocess.Popen([sys.executable, "-m", "greeter.server"], env=environ, stdout=subprocess.PIPE, text=True)
        line = cls.process.stdout.readline()
        cls.port = int(re.search(r"port (\d+)", line)[1])

    @classmethod
    def tearDownClass(cls):
        cls.process.kill()
        cls.process.communicate()

    def get(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response, response.read().decode()
        finally:
            connection.close()

    def test_answers(self):
        response, body = self.get("/greetings/Ada", Accept_Language="de-CH, en;q=0.5")
        self.assertEqual((response.status, json.loads(body)), (200, {"greeting": "Guten Tag, Ada!"}))
        self.assertEqual(response.getheader("Content-Language"), "de")
        self.assertEqual(json.loads(self.get("/greetings/Zo%C3%AB%20B")[1]), {"greeting": "Hello, Zoë B!"})
        self.assertEqual(self.get("/healthz")[1], "ok\n")
        response, body = self.get("/greetings/Ada", "HEAD")
        self.assertEqual((response.status, body, response.getheader("Content-Length")), (200, "", "28"))

    def test_problems(self):
        for path, status, why in [
            ("/", 404, "NAME"),
            ("/nothing/Ada", 404, "NAME"),
            ("/greetings/a/b", 404, "NAME"),
            ("/greetings/", 400, "empty"),
            ("/greetings/%00", 400, "shown"),
            ("/greetings/%FF", 400, "decode"),
            ("/greetings/" + "a" * 101, 400, "longer"),
        ]:
            with self.subTest(path=path):
                response, body = self.get(path)
                self.assertEqual(response.status, status)
                self.assertTrue(response.getheader("Content-Type").startswith("application/problem+json"))
                self.assertIn(why, json.loads(body)["detail"])

    @unittest.skipIf(shutil.which("dot") is None, "needs graphviz, which the base image has")
    def test_picture(self):
        for name, shown in [("Ada", "Hello, Ada!"), ("%22%5CA", 'Hello, "\\A!'), ("%3Cb%3E", "Hello, <b>!"), ("Zo%C3%AB", "Hello, Zoë!"), ("a%26lt;", "Hello, a&lt;!")]:
            with self.subTest(name=name):
                response, body = self.get("/picture/" + name)
                self.assertEqual((response.status, response.getheader("Content-Type")), (200, "image/svg+xml; charset=utf-8"))
                texts = [element.text.replace("\N{NO-BREAK SPACE}", " ") for element in xml.fromstring(body).iter("{http://www.w3.org/2000/svg}text")]
                self.assertEqual(texts, [shown])

    @unittest.skipIf(shutil.which("dot") is not None, "needs a machine without graphviz")
    def test_no_picture(self):
        response, body = self.get("/picture/Ada")
        self.assertEqual((response.status, json.loads(body)["status"]), (500, 500))


class Stop(unittest.TestCase):
    def test_sigterm(self):
        environ = os.environ | {"GREETER_LISTEN": "127.0.0.1:0"}
        with subprocess.Popen([sys.executable, "-m", "greeter.server"], env=environ, stdout=subprocess.PIPE, text=True) as process:
            try:
                process.stdout.readline()
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(timeout=10), 0)
            finally:
                process.kill()
