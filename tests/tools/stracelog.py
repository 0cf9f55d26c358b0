"""Reads the output of `strace -f -y`: parses lines into calls, joins the two halves of interrupted calls, and splits
arguments.

`stracelog.py TRACE` prints each call on one line, even if strace split the call because another process ran meanwhile.

Invariants: `Log.unread` has every line that was not understood. Names are the bytes that the kernel saw, decoded with
surrogateescape. The calls of a file are in the order of time.
"""
import glob
import os
import re
import sys

PID = re.compile(r"^(?:\[pid +)?(\d+)\]? +")
TIME = re.compile(r"^(?:\d+:\d+:\d+(?:\.\d+)? |\d+\.\d+ )")
UNFINISHED = re.compile(r"\s*<unfinished \.\.\.>\)?\s*(?:=\s*\?)?$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>\s?")
RESULT = re.compile(r"^\)?\s*=\s+(-?\d+|0x[0-9a-f]+|\?)(?:<(.*?)>)?(.*)$", re.S)
DESCRIPTOR = re.compile(r"^(AT_FDCWD|-?\d+)(?:<(.*)>(\(deleted\))?)?$", re.S)
ESCAPE = re.compile(r'\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))', re.S)
LETTERS = {"n": 10, "t": 9, "r": 13, "v": 11, "f": 12, "a": 7, "b": 8, "e": 27}


def unescape(text):
    """Returns the name that strace wrote with C escapes, each of which stands for a byte."""
    if "\\" not in text:
        return text
    out, at = bytearray(), 0
    for match in ESCAPE.finditer(text):
        out += text[at:match.start()].encode("utf-8", "surrogateescape")
        hexadecimal, octal, letter = match.groups()
        if hexadecimal:
            out.append(int(hexadecimal, 16))
        elif octal:
            out.append(int(octal, 8) & 255)
        else:
            out.append(LETTERS.get(letter, ord(letter) & 255))
        at = match.end()
    out += text[at:].encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "surrogateescape")


def split_arguments(text):
    """Splits the text behind a call's opening parenthesis: 'a, "b,c", {d, e}) = 0' -> (['a', '"b,c"', '{d, e}'], ' = 0')."""
    arguments, depth, start, i, n = [], 0, 0, 0, len(text)
    while i < n:
        c = text[i]
        if c == '"':
            i += 1
            while i < n and text[i] != '"':
                i += 2 if text[i] == "\\" else 1
        elif c == "<" and i and (text[i - 1].isdigit() or text[i - 1] == "D"):
            # A descriptor's path: strace writes < and > inside it as escapes, but types like <UNIX:[1->2]> have arrows.
            end = text.find(">", i)
            while end > 0 and text[end - 1] == "-":
                end = text.find(">", end + 1)
            i = end if end > 0 else n
        elif text.startswith("/*", i):
            i = text.find("*/", i) + 1 or n
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            if depth == 0:
                arguments.append(text[start:i].strip())
                return [a for a in arguments if a], text[i + 1:]
            depth -= 1
        elif c == "," and depth == 0:
            arguments.append(text[start:i].strip())
            start = i + 1
        i += 1
    arguments.append(text[start:].strip())
    return [a for a in arguments if a], ""


def string(argument):
    """Returns (name, truncated) of a quoted argument, or (None, False) if the argument is no name (NULL, a bad pointer)."""
    if not argument.startswith('"'):
        return None, False
    truncated = argument.endswith('"...')
    return unescape(argument[1:-4] if truncated else argument[1:-1]), truncated


def descriptor(argument):
    """Returns (number or AT_FDCWD, path or None) of a descriptor argument, as -y shows it."""
    match = DESCRIPTOR.match(argument)
    if not match:
        return argument, None
    path = unescape(match.group(2)) if match.group(2) else None
    return match.group(1), path if path and path.startswith("/") else None


class Call:
    """One system call of one process. `value` is "?" where the call never returned."""

    __slots__ = ("pid", "name", "arguments", "value", "ok", "line", "order", "text")

    def __init__(self, pid, name, text, line, order):
        self.pid, self.name, self.line, self.order, self.text = pid, name, line, order, text
        self.arguments, rest = split_arguments(text)
        match = RESULT.match(rest)
        self.value = match.group(1) if match else "?"
        # strace shows -1 and the error's name for a call that failed, "?" for one that never returned.
        self.ok = bool(match) and not (self.value.startswith("-1") or self.value == "?")


class Log:
    """All calls of a trace, in order. A process is (pid, generation), because the kernel uses pids again."""

    def __init__(self):
        self.calls, self.unread = [], []
        self._order = 0
        self._open = {}         # pid -> (name, text so far, line, order)
        self._alias = {}        # pid -> (pid, generation) of the process that has it now
        self._generation = {}

    def _process(self, pid):
        return self._alias.setdefault(pid, (pid, self._generation.get(pid, 0)))

    def feed(self, line, pid=None):
        line = line.rstrip("\n")
        text = line
        match = PID.match(text)
        # With -ff the file's name contains the number of the process. If the line has a number too, that one counts.
        if match and not TIME.match(text):
            pid, text = int(match.group(1)), text[match.end():]
        elif pid is None:
            pid = 0
        text = TIME.sub("", text)
        if not text or text.startswith("---") or text.startswith("strace: "):
            return
        if text.startswith("+++"):
            if "superseded by execve" in text:
                return
            self._flush(pid)
            if pid in self._alias:
                del self._alias[pid]
                self._generation[pid] = self._generation.get(pid, 0) + 1
            return
        # strace writes `???` for a process that was killed before strace could read the call. The process made no call.
        if text.startswith(("???(", "<... ??? resumed>")):
            return
        process = self._process(pid)
        resumed = RESUMED.match(text)
        if resumed:
            if process not in self._open:
                self.unread.append(line)
                return
            name, begun, first, order = self._open.pop(process)
            tail = text[resumed.end():]
            self.calls.append(Call(process, name, begun + tail, first + " ... " + tail, order))
            return
        name, paren, rest = text.partition("(")
        if not paren or not re.fullmatch(r"\w+", name):
            self.unread.append(line)
            return
        self._order += 1
        cut = UNFINISHED.search(rest)
        if cut:
            self._open[process] = (name, rest[:cut.start()] + " ", line, self._order)
        else:
            self.calls.append(Call(process, name, rest, line, self._order))

    def _flush(self, pid):
        """Records the call from which this process never returned, if there is one."""
        begun = self._open.pop(self._alias.get(pid), None)
        if begun:
            name, text, line, order = begun
            self.calls.append(Call(self._alias[pid], name, text, line, order))

    def finish(self):
        for pid in list(self._alias):
            self._flush(pid)
        self.calls.sort(key=lambda call: call.order)
        return self


def read(path):
    """Reads a file of `strace -f -o`, or a directory of files of `strace -ff -o`, whose names end in the pid."""
    files = sorted(glob.glob(os.path.join(path, "*"))) if os.path.isdir(path) else [path]
    log = Log()
    for name in files:
        number = re.search(r"\.(\d+)$", name)
        if name.endswith(".cwd"):
            continue
        with open(name, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for line in file:
                log.feed(line, int(number.group(1)) if number and os.path.isdir(path) else None)
    return log.finish()


if __name__ == "__main__":
    for call in read(sys.argv[1]).calls:
        print(f"{call.pid[0]} {call.name}({call.text}".encode("utf-8", "backslashreplace").decode())
