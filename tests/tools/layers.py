#!/usr/bin/env python3
"""layers.py [CHECKOUT]: checks that the rooms of the source lie as docs/design.md draws them.

A block of docs/design.md that begins with ```rooms DIR has a line for each room of DIR, from the highest to the lowest:
the name of a directory, or of a file without `.rs`, and a description. Errors are

  a room of the source that is missing in the block, and a room of the block that is missing in the source;
  a path (in a `use` or an expression) that leads from a room to a higher one;
  files of one room that need each other in a circle. Two files may, if one is a parent module of the other.

Invariants: code of tests (`#[cfg(test)]`) does not count, because no program contains it. A file that uses a name which
a module re-exports (`pub use`) needs the module where the name is defined. Exit status: 1 if there are errors.
"""
import os
import re
import sys

BLOCK = re.compile(r"^```rooms (\S+)\n(.*?)^```", re.M | re.S)
# Comments, strings and characters: the text in them is no code.
NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\\\'])\'', re.S)
TEST = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*|any\(test\b[^\]]*)\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?")
USE = re.compile(r"(?P<public>\bpub(?:\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]*);")
PATH = re.compile(r"(?<![\w:])(?:\$?crate|self|super)(?:\s*::\s*\w+)+")
INNER = re.compile(r"\bmod\s+(\w+)\s*\{")


def code_of(text):
    """Returns a file's text with blanks in place of comments, strings and tests."""
    blank = lambda match: re.sub(r"[^\n]", " ", match.group(0))
    text = NO_CODE.sub(blank, text)
    while match := TEST.search(text):
        end = match.end()
        semicolon, brace = text.find(";", end), text.find("{", end)
        if brace == -1 or -1 < semicolon < brace:
            stop = semicolon + 1 if semicolon != -1 else len(text)
        else:
            stop = closing(text, brace) + 1
        text = text[:match.start()] + re.sub(r"[^\n]", " ", text[match.start():stop]) + text[stop:]
    return text


def closing(text, brace):
    depth = 0
    for at in range(brace, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at
    return len(text) - 1


def leaves(tree, before=()):
    """Yields each path of a `use` declaration and the name under which it imports the item: (("a", "b"), "b")."""
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    if brace:
        parts = before + tuple(p.strip() for p in head.split("::") if p.strip())
        depth, start, inside = 0, 0, rest[:rest.rindex("}")]
        for at, letter in enumerate(inside + ","):
            depth += (letter == "{") - (letter == "}")
            if letter == "," and depth == 0:
                if inside[start:at].strip():
                    yield from leaves(inside[start:at], parts)
                start = at + 1
        return
    path, _, name = tree.partition(" as ")
    parts = before + tuple(p.strip() for p in path.split("::") if p.strip())
    if parts[-1:] == ("self",) and len(parts) > 1:
        parts = parts[:-1]
    yield parts, name.strip() or (parts[-1] if parts else "")


class Crate:
    """The modules of a source directory: for each file the paths that it needs and the names that it re-exports."""

    def __init__(self, top, directory):
        self.directory, self.files = directory, {}
        self.needs, self.passes = {}, {}
        source = os.path.join(top, directory)
        for place, directories, names in os.walk(source):
            directories[:] = [d for d in directories if not (place == source and d == "bin")]
            for name in sorted(names):
                path = os.path.relpath(os.path.join(place, name), source)
                if not name.endswith(".rs") or path in ("lib.rs", "main.rs"):
                    continue
                parts = path[:-3].split(os.sep)
                module = tuple(parts[:-1] if parts[-1] == "mod" else parts)
                with open(os.path.join(place, name), encoding="utf-8") as file:
                    self.files[module] = (path, code_of(file.read()))
        for module, (_, text) in self.files.items():
            self.needs[module], self.passes[module] = [], {}
            self._read(module, text)

    def rooms(self):
        return {module[0] for module in self.files}

    def _read(self, module, text):
        inner = [(m.start(), closing(text, m.end() - 1), m.group(1)) for m in INNER.finditer(text)]

        def absolute(parts, at):
            here = list(module) + [name for start, end, name in inner if start < at < end]
            if parts[0] in ("crate", "$crate"):
                return tuple(parts[1:])
            if parts[0] not in ("self", "super"):
                # The first part is a child module of this one, or another crate.
                return tuple(here) + tuple(parts) if tuple(here) + (parts[0],) in self.files else None
            while parts and parts[0] in ("self", "super"):
                if parts[0] == "super":
                    here = here[:-1]
                parts = parts[1:]
            return tuple(here) + tuple(parts)

        for match in USE.finditer(text):
            for parts, name in leaves(match.group("tree")):
                path = absolute(parts, match.start()) if parts else None
                if path is not None:
                    line = text.count("\n", 0, match.start()) + 1
                    self.needs[module].append((path, line))
                    if match.group("public"):
                        self.passes[module][name] = path
        rest = USE.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)
        for match in PATH.finditer(rest):
            path = absolute([p.strip() for p in match.group(0).split("::")], match.start())
            if path:
                self.needs[module].append((path, text.count("\n", 0, match.start()) + 1))

    def file_of(self, path, seen=()):
        """Returns the module in which a path's item is defined. This is the longest part of the path that is a file. If
        that file re-exports the name, it is the file that defines the name."""
        for length in range(len(path), 0, -1):
            module = path[:length]
            if module in self.files:
                name = path[length] if length < len(path) else None
                origin = self.passes[module].get(name)
                if origin and (module, name) not in seen:
                    return self.file_of(origin, (*seen, (module, name))) or module
                return module
        return None

    def edges(self):
        """Yields (module, module that it needs, line) for each need of one file for another."""
        for module, needs in self.needs.items():
            for path, line in needs:
                target = self.file_of(path)
                if target and target != module:
                    yield module, target, line


def circles(graph):
    """Returns the sets of modules that reach each other (Tarjan's algorithm)."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in number:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == number[node]:
            circle = []
            while not circle or circle[-1] != node:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return found


def check(top):
    """Returns the errors of a checkout, a line each."""
    with open(os.path.join(top, "docs/design.md"), encoding="utf-8") as file:
        blocks = BLOCK.findall(file.read())
    if not blocks:
        return ["docs/design.md draws no rooms"]
    said = []
    for directory, block in blocks:
        lines = [line for line in block.splitlines() if line.strip()]
        order = [line.split()[0] for line in lines]
        said += [f"docs/design.md: {directory}/{line.split()[0]} has no description" for line in lines if len(line.split()) < 2]
        said += [f"docs/design.md: {directory}/{room} stands in the block twice" for room in sorted(set(order)) if order.count(room) > 1]
        for room in order:
            place = os.path.join(top, directory, room if room.endswith("/") else room + ".rs")
            if not (os.path.isdir(place) if room.endswith("/") else os.path.isfile(place)):
                said.append(f"docs/design.md: there is no {directory}/{room}")
        height = {room.rstrip("/"): at for at, room in enumerate(order)}
        crate = Crate(top, directory)
        said += [f"docs/design.md does not have the room {directory}/{room}" for room in sorted(crate.rooms() - set(height))]
        graph = {}
        for module, target, line in crate.edges():
            room, other = module[0], target[0]
            if room != other:
                if height.get(other, 0) < height.get(room, -1):
                    said.append(f"{directory}/{crate.files[module][0]}:{line}: {room} uses {'::'.join(target)}, which is higher")
            elif module[:len(target)] != target and target[:len(module)] != module:
                graph.setdefault(module, set()).add(target)
        said += [f"{directory}: a circle: {', '.join(crate.files[m][0] for m in circle)}" for circle in circles(graph)]
    return list(dict.fromkeys(said))


if __name__ == "__main__":
    wrong = check(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)
