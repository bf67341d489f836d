"""Runs the unit tests and leaves junit.xml in a folder: python3 test.py OUT"""

import sys
import time
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path


class Report(unittest.TextTestResult):
    """A result that is also written as JUnit's XML."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cases = []

    def startTest(self, test):
        super().startTest(test)
        self.begin = time.monotonic()
        suite, _, name = test.id().rpartition(".")
        self.cases.append(xml.Element("testcase", classname=suite, name=name))

    def stopTest(self, test):
        self.cases[-1].set("time", f"{time.monotonic() - self.begin:.3f}")
        super().stopTest(test)

    def note(self, test, kind, message, text=""):
        suite, _, name = test.id().rpartition(".")
        # What a class or a module does before its tests belongs to no case.
        if not self.cases or (self.cases[-1].get("classname"), self.cases[-1].get("name")) != (suite, name):
            self.cases.append(xml.Element("testcase", classname=suite, name=name, time="0"))
        xml.SubElement(self.cases[-1], kind, message=message).text = text

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, "error", str(error[1]), self._exc_info_to_string(error, test))

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, "failure", str(error[1]), self._exc_info_to_string(error, test))

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            kind = "failure" if issubclass(error[0], test.failureException) else "error"
            self.note(test, kind, f"{subtest._subDescription()}: {error[1]}", self._exc_info_to_string(error, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped", reason)

    def write(self, path):
        suite = xml.Element("testsuite", name="greeter", tests=str(len(self.cases)))
        for attribute, kind in [("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]:
            suite.set(attribute, str(sum(case.find(kind) is not None for case in self.cases)))
        suite.extend(self.cases)
        path.parent.mkdir(parents=True, exist_ok=True)
        xml.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    tests = unittest.defaultTestLoader.discover("tests", top_level_dir=".")
    result = unittest.TextTestRunner(resultclass=Report, verbosity=2).run(tests)
    result.write(Path(sys.argv[1]) / "junit.xml")
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
