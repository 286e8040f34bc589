"""Programs that mean harm, each as its text; the test behind each of them would fail if it came to it."""

from pathlib import Path

from llamalab.evaluation.code.limits import Limits

LIMITS = Limits(
    cpu_seconds=1,
    wall_seconds=1.5,
    memory_bytes=2**28,
    file_bytes=2**22,
    disk_bytes=2**24,
    open_files=32,
    threads=16,
)


def open_to_all(path: Path) -> None:
    """Takes away the file modes that would keep another user out, so that something else has to."""
    path.chmod(0o777)
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o011)


HOSTILE = {
    "endless loop": "while True: pass",
    "endless sleep": "import time\nwhile True: time.sleep(100)",
    "ignored signals": "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\nwhile True: pass",
    "fork bomb": "import os\nwhile True: os.fork()",
    "fork bomb below the os module": "import _posixsubprocess, os\nr, w = os.pipe()\nwhile True:\n"
    "    _posixsubprocess.fork_exec([b'/bin/sleep', b'100'], [b'/bin/sleep'], True, (w,), None, None, -1, -1, -1, -1,"
    " -1, -1, r, w, False, False, 0, None, None, None, -1, None, False)",
    "shell": "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'sleep 100 &'])",
    "daemon": "import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\nwhile True: pass",
    "threads": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(100,)).start()",
    "100 GB": "x = bytearray(100 * 2**30)",
    "growing list": "x = []\nwhile True: x.append(bytearray(2**24))",
    "file too large": "with open('x', 'wb') as f:\n    while True: f.write(bytes(2**20))",
    "kill the parent": "import os\nos.kill(os.getppid(), 9)",
    "kill everything": "import os\nos.kill(-1, 9)",
    "kill the group": "import os\nos.killpg(0, 9)",
    "kill oneself": "import signal\nsignal.raise_signal(9)",
    "crash": "import faulthandler\nfaulthandler._sigsegv()",
    "endless recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
    "huge output": "while True: print('x' * 10**6)",
    "huge message": "raise ValueError('x' * 10**8)",
    "hostile message": "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
    "flooded pipe": "import os\nwhile True: os.write(3, bytes(2**16))",
    "closed files": "import os\nos.closerange(0, 64)",
    "delete what others need": "import fractions, json, shutil\nfor path in (json.__path__[0], '/dev', '/tmp'):\n"
    "    shutil.rmtree(path, ignore_errors=True)\nopen(fractions.__file__, 'w')",
    "exit": "import sys\nsys.exit(0)",
    "quick exit": "import os\nos._exit(0)",
    "raised exit": "raise SystemExit",
    "exit hook": "import atexit, os\natexit.register(os._exit, 0)",
    "open quote": "'''",
    "reading input": "input()",
    "half a character": "x = '\ud800'",
    "null byte": "x = 1\0",
    "not Python": "def f(:",
    "empty": "",
    "written pass": "import os\nos.write(3, b'yes')\nos._exit(0)",
    "patched checker": "import builtins, os, sys, json\n"
    "def done(*a, **k): return 0\n"
    "for module, names in ((builtins, ('exec', 'print', 'isinstance', 'BaseException', 'AssertionError')),"
    " (os, ('write', '_exit', 'waitpid')), (sys, ('exit', 'addaudithook')), (json, ('dumps', 'loads'))):\n"
    "    for name in names: setattr(module, name, done)\n"
    "sys.modules.clear()",
    "search in the frames": "import os, sys\n"
    "def look(value, depth=0):\n"
    "    if isinstance(value, bytes) and len(value) == 32:\n"
    "        os.write(3, value)\n"
    "        os._exit(0)\n"
    "    if depth < 4 and isinstance(value, dict): value = [*value.values()]\n"
    "    if depth < 4 and isinstance(value, (list, tuple, set)):\n"
    "        for each in list(value): look(each, depth + 1)\n"
    "    if depth < 4 and hasattr(value, '__next__') and not isinstance(value, type): look(list(value), depth + 1)\n"
    "frame = sys._getframe()\n"
    "while frame:\n"
    "    for found in (frame.f_locals, frame.f_globals, frame.f_code.co_consts):\n"
    "        try: look(dict(found) if isinstance(found, dict) else found)\n"
    "        except Exception: pass\n"
    "    frame = frame.f_back\n"
    "for module in list(sys.modules.values()):\n"
    "    try: look(dict(vars(module)))\n"
    "    except Exception: pass",
    "search in memory": "import gc, os\n"
    "for each in gc.get_objects():\n"
    "    if isinstance(each, tuple):\n"
    "        for value in each:\n"
    "            if isinstance(value, bytes) and len(value) == 32:\n"
    "                os.write(3, value)\n"
    "                os._exit(0)",
    "jump over the tests": "import sys\n"
    "def trace(frame, event, argument):\n"
    "    if event == 'line' and frame.f_lineno == 2: frame.f_lineno = 4\n"
    "    return trace\n"
    "sys.settrace(trace)",
}
