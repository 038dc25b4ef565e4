"""What a person at a terminal sees: colours and pages there, and plain text in a pipe."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import unittest

import harness

ESCAPE = b"\x1b["
ROWS = 5


def at_terminal(home, *arguments, pager, rows=ROWS, colours=True):
    """What `diot` writes to a terminal of so many rows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 120, 0, 0))
    environment = {**home.environment(), "PAGER": pager, "TERM": "xterm"}
    if colours:
        del environment["NO_COLOR"]
    process = subprocess.Popen([harness.DIOT, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=theirs,
                               stderr=theirs, preexec_fn=harness.die_with_the_test)
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # everybody who wrote to it has ended
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    assert process.wait(harness.TIMEOUT_S) == 0, written
    return written


class TerminalTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(harness.World())
        cls.alice = cls.world.found("alice")
        for name in ("bob", "carol", "dave", "erin", "frank"):
            cls.world.join(cls.alice, name, start=False)

    def in_a_pipe(self, *arguments, pager="false"):
        environment = {**self.alice.environment(), "PAGER": pager, "TERM": "xterm"}
        del environment["NO_COLOR"]
        done = subprocess.run([harness.DIOT, *arguments], env=environment, capture_output=True, timeout=harness.TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_colours_are_for_terminals(self):
        shown = at_terminal(self.alice, "ledger", "list", pager="cat", rows=50)
        self.assertIn(ESCAPE, shown)
        self.assertIn(b"frank", shown)
        self.assertNotIn(ESCAPE, at_terminal(self.alice, "ledger", "list", pager="cat", rows=50, colours=False))
        piped = self.in_a_pipe("ledger", "list")
        self.assertNotIn(ESCAPE, piped)
        self.assertIn(b"frank", piped)
        self.assertNotIn(ESCAPE, at_terminal(self.alice, "ledger", "list", "--json", pager="cat", rows=50))

    def test_pages_are_for_terminals_that_are_too_small(self):
        pager = "sed s/^/paged:/"
        self.assertIn(b"paged:", at_terminal(self.alice, "ledger", "list", pager=pager))
        self.assertNotIn(b"paged:", at_terminal(self.alice, "ledger", "list", pager=pager, rows=50))
        self.assertNotIn(b"paged:", at_terminal(self.alice, "status", pager=pager))
        self.assertNotIn(b"paged:", self.in_a_pipe("ledger", "list", pager=pager))


if __name__ == "__main__":
    unittest.main()
