"""The program that keeps the files on a host: it is sent through the connection and speaks the worker's protocol there.

Standard library only, and any Python from 3.6 on, so that an older one can be reported in a sentence. Nothing here
compares a time of this computer with one of another.
"""

import base64
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

FOLDERS = ("versions", "environments", "cohorts", "incoming", "outgoing", "index")
CHUNK = 1 << 20
MARKER = ".sparse-annotate"  # in the root: all else in it is ours
SILENCE_SECONDS = 30.0  # the other computer reports more often; afterwards what it held is left to others
OURS = {
    "cohorts": r"[0-9a-f]{32}",
    "versions": r"[^/]+-[0-9a-f]{12}",
    "environments": r"[0-9a-f]{12}",
}


class Problem(Exception):
    """An expected error; its text is a sentence."""


class Keeper:
    """Keeps files by content below one folder, the root.

    An area is a folder below the root; areas of one group (the parts before the last) share content by hard links.
    """

    def __init__(self):
        self.root = None
        self.held = {}
        self.passing = {}  # area to names in it that must not outlive this connection
        self.own = uuid.uuid4().hex  # of this connection
        self.offering = None

    # --- what there is --------------------------------------------------------------------------------------------

    def facts(self, folder, report):
        """Set the root; what this computer is like."""
        root = os.path.abspath(os.path.expanduser(folder))
        bad = sorted({c for c in root if not (c.isalnum() or c in "/._-+@=,~")})
        if bad:
            raise Problem(
                f"The folder '{root}' cannot be used because of the character '{bad[0]}'. Choose another one with "
                "'--folder'."
            )
        make_private(root)
        names = os.listdir(root)
        if MARKER not in names:
            if names:
                raise Problem(
                    f"The folder '{root}' has other files in it, such as '{sorted(names)[0]}'. Choose an empty or a "
                    f"new one with '--folder', for example '{root}/sparse-annotate'."
                )
            with open(os.path.join(root, MARKER), "w"):
                pass
        self.root = root
        for name in FOLDERS:
            make_private(os.path.join(root, name))
        return {
            "python": platform.python_version(),
            "executable": sys.executable,
            "folder": root,
            "rsync": shutil.which("rsync") or "",
            "system": platform.system(),
            "free": shutil.disk_usage(root).free,
            "pythons": other_pythons(),
        }

    def free(self, report):
        """Bytes that are free on the root's disk, and why nothing can be written, if so."""
        probe, why = os.path.join(self.root, "incoming", f".probe-{os.getpid()}"), ""
        try:
            with open(probe, "wb") as file:
                file.write(b"\0" * CHUNK)
        except OSError as error:
            why = reason(error)
        finally:
            quietly(os.unlink, probe)
        return {"free": shutil.disk_usage(self.root).free, "why": why}

    def contents(self, area, under, report, without=(), sizes=None):
        """The files of an area below these paths (all: ''), as {path: [bytes, sha256]}.

        Those below the paths `without` are left out, and with `sizes` those of another number of bytes.
        """
        top = self.path(area)
        memo_path = os.path.join(self.root, "index", digest_of(area) + ".json")
        memo, found, changed = read_memo(memo_path), {}, False
        for path in files_below(top, under):
            name = os.path.relpath(path, top).replace(os.sep, "/")
            if name.startswith(tuple(start + "/" for start in without)):
                continue
            try:
                stamp = stamp_of(path)
                if sizes is not None and stamp[0] not in sizes:
                    continue
                known = memo.get(name)
                if known is None or known[0] != stamp:
                    report(f"reading '{name}'")
                    began = time.time()
                    known = [stamp, sha_of(path)]
                    if began - stamp[1] / 1e9 > 2.0 and stamp_of(path) == stamp:
                        memo[name], changed = known, True
            except OSError:
                continue  # removed meanwhile
            found[name] = [stamp[0], known[1]]
        if changed:
            write_text(memo_path, json.dumps(memo))
        return found

    # --- bringing files in ----------------------------------------------------------------------------------------

    def place(self, area, files, absent, own, report):
        """Make an area hold these files ({path: [bytes, sha256]}), and none of those that are `absent`.

        Files that are `own` do not share their content with other files: those that are written to where they are.
        Returns the sha256 of contents that are not here and must be sent first; then nothing else was changed; and
        how many files were put in place. What several connections do to an area needs a hold.
        """
        top = self.path(area)
        now = self.contents(area, sorted(files), report)
        wanted = {name: sha for name, (_size, sha) in files.items() if now.get(name, ["", ""])[1] != sha}
        sizes = {sha: size for size, sha in files.values()}
        arrived = {}
        for sha in set(wanted.values()):
            path = os.path.join(self.incoming(area, report), sha)
            if os.path.isfile(path) and os.path.getsize(path) == sizes[sha]:
                arrived[sha] = path
            elif os.path.isfile(path) and os.path.getsize(path) > sizes[sha]:
                os.unlink(path)
        missing = set(wanted.values()) - set(arrived)
        wanted_sizes = {sha: sizes[sha] for sha in missing}
        sources = dict(self.shared(area, wanted_sizes, report) if missing else {}, **arrived)
        missing -= set(sources)
        staged = {}
        try:
            # All sources before any file is replaced: one of them may be replaced, too.
            for number, (name, sha) in enumerate(sorted(wanted.items()) if not missing else []):
                place = os.path.join(top, name)
                beside = os.path.join(os.path.dirname(place), f".{number}.placing")
                staged[name] = beside
                if not is_staged(sources[sha], beside, sha, sharing=name not in own):
                    missing.add(sha)
                    quietly(os.unlink, os.path.join(self.incoming(area, report), sha))
            if missing:
                return {"missing": sorted(missing), "placed": 0}
            for name, beside in staged.items():
                os.replace(beside, os.path.join(top, name))
        finally:
            for beside in staged.values():
                quietly(os.unlink, beside)
        for name in absent:
            quietly(os.unlink, os.path.join(top, name))
        for path in arrived.values():
            quietly(os.unlink, path)
        return {"missing": [], "placed": len(wanted)}

    def incoming(self, area, report):
        """The folder for contents that are sent to an area; what arrived in part stays there for the next time."""
        folder = os.path.join(self.root, "incoming", digest_of(area))
        make_folder(folder)
        return folder

    def shared(self, area, wanted, report):
        """Where contents, {sha256: bytes}, are in the areas of the same group: {sha256: path}."""
        group = os.path.dirname(area)
        found = {}
        for other in self.areas(group):
            for name, (_size, sha) in self.contents(other, [""], report, sizes=set(wanted.values())).items():
                if sha in wanted:
                    found[sha] = os.path.join(self.path(other), name)
        return found

    def areas(self, group):
        folder = self.path(group)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [group + "/" + name for name in names if os.path.isdir(os.path.join(folder, name))]

    def arrived(self, area, shas, report):
        """How many bytes of contents have been received for an area: {sha256: bytes}."""
        sizes = {}
        for sha in shas:
            try:
                sizes[sha] = os.path.getsize(os.path.join(self.incoming(area, report), sha))
            except OSError:
                continue
        return sizes

    def receive(self, area, sha, content, report):
        """Receive a small content for an area in a message, base64."""
        place = os.path.join(self.incoming(area, report), sha)
        beside = place + "." + self.own
        with open(beside, "wb") as file:
            file.write(base64.b64decode(content))
        os.replace(beside, place)
        return

    def mark(self, area, marks, report):
        """Write down the fingerprints of images that were cleaned before they were sent, {image: [memo, mark]}, in the
        form of `core.image_fingerprint.KeptFingerprint`: results then name the image that they are compared with.
        """
        for image, (memo, mark) in marks.items():
            path = os.path.join(self.path(area), image)
            status = os.stat(path)
            stamp = [path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            place = os.path.join(self.path(area), memo)
            make_folder(os.path.dirname(place))
            write_text(place, json.dumps({"files": [stamp], "mark": mark}))
        return

    # --- bringing files out ---------------------------------------------------------------------------------------

    def offer(self, area, files, report):
        """Offer contents for copying, {path: sha256}, each under its sha256 in a folder of this connection; returns
        that folder.
        """
        folder = os.path.join(self.root, "outgoing", self.own)
        make_folder(folder)
        if self.offering is None:
            # So that `clean` knows the folders of connections that were killed.
            self.offering = open_locked(os.path.join(folder, ".lock"))
        for name, sha in files.items():
            link = os.path.join(folder, sha)
            quietly(os.unlink, link)
            os.symlink(os.path.join(self.path(area), name), link)
        return folder

    def withdraw(self, report):
        """Take offered contents back."""
        if self.offering is not None:
            self.offering.close()
            self.offering = None
        if self.root is not None:
            shutil.rmtree(os.path.join(self.root, "outgoing", self.own), ignore_errors=True)
        return

    def read(self, area, name, report):
        """A small file, base64; None when it does not exist."""
        try:
            with open(os.path.join(self.path(area), name), "rb") as file:
                return base64.b64encode(file.read()).decode("ascii")
        except FileNotFoundError:
            return None

    # --- one at a time, and cleaning ------------------------------------------------------------------------------

    def hold(self, area, report):
        """Hold an area, until `release` or the end of the connection; False when another one holds it."""
        if area in self.held:
            return True
        file = self.locked(digest_of(area))
        if file is None:
            return False
        self.held[area] = file
        return True

    def locked(self, digest):
        """An open file that keeps others away from the area with this digest; None when another one holds it."""
        return open_locked(os.path.join(self.root, "index", digest + ".lock"))

    def release(self, area, report):
        """Leave an area to others."""
        file = self.held.pop(area, None)
        if file is not None:
            file.close()
        return

    def usage(self, report):
        """Bytes on disk by what they are for; a content that several files share counts once."""
        seen, found = set(), {}
        for name in FOLDERS:
            total = 0
            for path in files_below(os.path.join(self.root, name), [""]):
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512
            found[name] = total
        return found

    def trainings(self, report):
        """The areas of trainings whose runs have not been brought back."""
        return [area for area in self.all_areas() if is_training(area) and not self.is_brought_back(area)]

    def clean(self, everything, report):
        """Remove copies of cohorts, versions of the library and what is left of copying; the bytes freed, and what was
        kept: areas in use, and, without `everything`, trainings that have not been brought back. `everything` removes
        the environments, too.
        """
        before, kept = sum(self.usage(report).values()), []
        for area in self.all_areas():
            is_kept = is_training(area) and not everything and not self.is_brought_back(area)
            if is_kept or not self.hold(area, report):
                kept.append(area)
                continue
            shutil.rmtree(self.path(area), ignore_errors=True)
            quietly(os.rmdir, os.path.dirname(self.path(area)))
            self.release(area, report)
        for digest in os.listdir(self.path("incoming")):
            file = self.locked(digest) if re.fullmatch(r"[0-9a-f]{24}", digest) else None
            if file is not None:
                shutil.rmtree(os.path.join(self.path("incoming"), digest), ignore_errors=True)
                file.close()
        for name in os.listdir(self.path("outgoing")):
            folder = os.path.join(self.path("outgoing"), name)
            if re.fullmatch(r"[0-9a-f]{32}", name) and not is_in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)
        if not kept:
            for area in self.ours("versions") + (self.ours("environments") if everything else []):
                if self.hold(area, report):
                    shutil.rmtree(self.path(area), ignore_errors=True)
                    self.release(area, report)
        return {"freed": max(0, before - sum(self.usage(report).values())), "kept": kept}

    def brought_back(self, area, report):
        """Remember that the run of a training has been brought back."""
        with open(os.path.join(self.path(area), "brought-back"), "w"):
            return

    def empty(self, area, names, report, unless_used=()):
        """Remove files and folders of an area, for a training that begins; returns the folders that a process uses.

        When there are any among the names, or those in `unless_used`, nothing is removed.
        """
        in_use = [name for name in [*names, *unless_used] if is_in_use(self.path(area + "/" + name))]
        if in_use:
            return in_use
        for name in names:
            path = self.path(area + "/" + name)
            shutil.rmtree(path, ignore_errors=True)
            quietly(os.unlink, path)
            if os.path.lexists(path):
                raise Problem(f"'{path}' cannot be removed.")
        return []

    def pass_through(self, area, names, report):
        """Remove files and folders of an area and what has arrived for it; also when this connection ends."""
        self.passing[area] = names
        shutil.rmtree(self.incoming(area, report), ignore_errors=True)
        self.empty(area, names, report)
        return

    def end_passing(self):
        for area, names in self.passing.items():
            try:
                self.pass_through(area, names, None)
            except (Problem, OSError):
                pass

    def is_brought_back(self, area):
        return os.path.exists(os.path.join(self.path(area), "brought-back"))

    def all_areas(self):
        found = [area for group in self.ours("cohorts") for area in self.areas(group)]
        return [area for area in found if os.path.basename(area) == "copy" or is_training(area)]

    def ours(self, folder):
        """The folders in one of the root's that SparseAnnotate has made."""
        return [area for area in self.areas(folder) if re.fullmatch(OURS[folder], os.path.basename(area))]

    def run(self, words, report):
        """Run a program with each line that it writes as a report; its exit code and its last lines."""
        try:
            process = subprocess.Popen(
                [word.replace("{root}", self.root) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return {"code": 127, "lines": [f"'{words[0]}' cannot be started ({os.strerror(error.errno)})."]}
        CHILDREN.append(process)
        lines = []
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            if line:
                lines = (lines + [line])[-40:]
                report(line[:200])
        code = process.wait()
        CHILDREN.remove(process)
        return {"code": code, "lines": lines}

    def path(self, area):
        """The folder of an area; only below the root."""
        path = os.path.normpath(os.path.join(self.root, area))
        if path == self.root or not path.startswith(self.root + os.sep):
            raise Problem(f"'{area}' is not a folder of SparseAnnotate.")
        return path


CHILDREN = []  # type: ignore[var-annotated]
METHODS = (
    *("facts", "free", "contents", "place", "mark", "incoming", "arrived", "receive", "offer", "withdraw", "read"),
    *("hold", "release", "usage", "trainings", "clean", "brought_back", "empty", "pass_through", "run"),
)


def is_training(area):
    return os.path.basename(area).startswith("training-")


def other_pythons():
    """Other Pythons of this computer, the newest first: {version: path}."""
    found = {}
    for minor in range(30, 10, -1):
        path = shutil.which(f"python3.{minor}")
        if path:
            found[f"3.{minor}"] = path
    return found


def files_below(top, under):
    for start in under:
        path = os.path.join(top, start) if start else top
        if os.path.isfile(path):
            yield path
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                # What is being written, and locks.
                if not name.startswith("."):
                    yield os.path.join(folder, name)


def is_staged(source, beside, sha, sharing):
    """Link or copy a content beside its place; False when the source has another content meanwhile."""
    make_folder(os.path.dirname(beside))
    quietly(os.unlink, beside)
    try:
        try:
            if not sharing:
                raise OSError
            os.link(source, beside)
        except OSError:
            shutil.copyfile(source, beside)
    except FileNotFoundError:
        return False
    return sha_of(beside) == sha


def digest_of(area):
    return hashlib.sha256(area.encode()).hexdigest()[:24]


def sha_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            chunk = file.read(CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)


def stamp_of(path):
    status = os.stat(path)
    # Not the time of the last change of status: each hard link changes it.
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def read_memo(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def write_text(path, text):
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w") as file:
        file.write(text)
    os.replace(beside, path)


def open_locked(path):
    """A file, open and locked; None when another process has locked it."""
    file = open(path, "ab")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            file.close()
            return None
        # A file system without locks: holding is left out, as everywhere else in this project.
    return file


def is_in_use(folder):
    """Whether a process holds a folder; see `core.folder_lock`."""
    try:
        import fcntl

        file = open(os.path.join(folder, ".lock"), "r+b")
    except (ImportError, OSError):
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
    return False


def make_folder(path):
    os.makedirs(path, exist_ok=True)


def make_private(path):
    """Make a folder that only this user may open; one that exists keeps its mode."""
    make_folder(os.path.dirname(path))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass


def quietly(function, path):
    try:
        function(path)
    except OSError:
        pass


def reason(error):
    """Why something could not be written, as a sentence."""
    if error.errno in (errno.ENOSPC, errno.EFBIG):
        return "The disk is full, or a file may not be as large as this one. Free some space there and try again."
    if error.errno == errno.EDQUOT:
        return "Your disk quota is used up. Free some space there and try again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to write '{error.filename}'. Choose another folder with '--folder'."
    why = os.strerror(error.errno) if error.errno else str(error)
    if error.filename is None:
        return f"Something cannot be read or written there ({why})."
    return f"'{error.filename}' cannot be used ({why}). Check it there, or choose another folder with '--folder'."


def answer(keeper, message, write):
    last = [0.0]

    def report(text):
        if time.monotonic() - last[0] > 0.3:
            last[0] = time.monotonic()
            progress = {"id": message["id"], "fraction": 0.0, "message": text, "seconds_left": None, "metrics": {}}
            write({"method": "progress", "params": progress})

    try:
        if message.get("method") not in METHODS:
            raise Problem(f"Unknown request '{message.get('method')}'.")
        result = getattr(keeper, message["method"])(report=report, **(message.get("params") or {}))
        return {"id": message["id"], "result": result}
    except Problem as problem:
        return {"id": message["id"], "error": {"code": -32000, "message": str(problem)}}
    except OSError as error:
        return {"id": message["id"], "error": {"code": -32000, "message": reason(error)}}


def main():
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    keeper, lines, arrived = Keeper(), [], threading.Condition()

    heard = [time.monotonic()]

    def end():
        for process in list(CHILDREN):
            try:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            except OSError:
                pass
        keeper.withdraw(None)
        keeper.end_passing()
        os._exit(0)  # the system releases what was held

    def look():
        # A computer that was switched off or suspended does not end its connection.
        while time.monotonic() - heard[0] < SILENCE_SECONDS:
            time.sleep(SILENCE_SECONDS / 20)
        end()

    def read():
        while True:
            line = sys.stdin.buffer.readline()
            if not line:
                end()
            heard[0] = time.monotonic()
            with arrived:
                lines.append(line)
                arrived.notify()

    def write(content):
        try:
            answers.write(json.dumps(dict(content, jsonrpc="2.0")).encode("utf-8") + b"\n")
            answers.flush()
        except (OSError, ValueError):
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    threading.Thread(target=look, daemon=True).start()
    while True:
        with arrived:
            while not lines:
                arrived.wait()
            line = lines.pop(0)
        message = json.loads(line.decode("utf-8"))
        if "id" in message:
            write(answer(keeper, message, write))


if __name__ == "__main__":
    main()
