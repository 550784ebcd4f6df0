"""What a terminal shows after what was written to it: enough of one for rich's live displays."""

import re

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\r\n|\r|\n|[^\x1b\r\n]+|\x1b")


class Screen:
    """Lines of text, a cursor, and whether it is seen.

    Only what moves up and down, returns, and erases a line is known; colours are passed over.
    """

    def __init__(self):
        self.lines, self.row, self.column, self.cursor, self.erased = [""], 0, 0, True, 0

    def feed(self, text):
        """Takes what is written."""
        for match in _SEQUENCE.finditer(text):
            word, number, letter = match[0], match[1], match[2]
            if word.endswith("\n"):
                self.row, self.column = self.row + 1, 0
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif word == "\r":
                self.column = 0
            elif letter == "A":
                self.row = max(0, self.row - int(number or 1))
            elif letter == "K":
                assert number == "2"
                self.lines[self.row] = ""
                self.erased += 1
            elif number == "?25":
                self.cursor = letter == "h"
            elif letter is None:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + word + line[self.column + len(word) :]
                self.column += len(word)
            else:
                assert letter == "m", word
        return self

    @property
    def shown(self):
        """The lines without empty ones at the end."""
        return "\n".join(self.lines).rstrip("\n").split("\n")
