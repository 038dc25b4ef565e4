#!/usr/bin/env python3
"""Measures diot beside mosquitto with diot-bench and prints the tables of docs/performance.md.

Starts every server itself, in a temporary folder and on free ports of the loopback, and stops it again. All systems
are up at the same time; for each case they take turns, so that a noisy machine is noisy to all of them, and each figure
is the median of the rounds.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 40  # for a server to come up
CASE_SECONDS = 120  # beyond a case's own duration: connecting, settling


class Failed(Exception):
    """What could not be started or measured, for a person."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, log):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"{process.args[0]} ended at once:\n{log.read_text(errors='replace')[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failed(f"{process.args[0]} does not listen on {port} after {START_SECONDS} s")


class System:
    """One or two servers that were joined, as a publisher and a subscriber see them."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        self.processes = []
        self.publish_port = self.subscribe_port = 0
        self.prefix = ""
        folder.mkdir()

    def start(self, nodes):
        if nodes == 2:
            self.start_pair()
        else:
            self.start_alone()

    runs_on = ()  # in front of each server's command

    def start_process(self, command, log_name, port, environment=None):
        command = [*self.runs_on, *command]
        log = self.folder / log_name
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        self.processes.append(process)
        wait_for_port(port, process, log)

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def pids(self):
        return [str(process.pid) for process in self.processes]


class Mosquitto(System):
    CONFIG = """listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
"""
    BRIDGE = """connection ab
address 127.0.0.1:{other}
topic bench/# out 2 "" @alice/
notifications false
cleansession true
restart_timeout 1
"""

    def __init__(self, name, folder, program):
        super().__init__(name, folder)
        self.program = program

    def server(self, name, more=""):
        port = free_port()
        config = self.folder / f"{name}.conf"
        config.write_text(self.CONFIG.format(port=port) + more)
        self.start_process([self.program, "-c", str(config)], f"{name}.log", port)
        return port

    def start_alone(self):
        self.publish_port = self.subscribe_port = self.server("a")

    def start_pair(self):
        self.subscribe_port = self.server("b")
        self.publish_port = self.server("a", self.BRIDGE.format(other=self.subscribe_port))
        self.prefix = "@alice/"


class Diot(System):
    def __init__(self, name, folder, program):
        super().__init__(name, folder)
        self.program = program

    def verb(self, home, *arguments):
        done = subprocess.run(
            [self.program, *arguments],
            env={**os.environ, "DIOT_HOME": str(self.folder / home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise Failed(f"diot {' '.join(arguments[:2])} failed with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def home(self, home, *first_verb):
        mqtt, api, overlay = (free_port() for _ in range(3))
        addresses = [f"--{what}=127.0.0.1:{port}" for what, port in (("mqtt", mqtt), ("api", api), ("overlay", overlay))]
        self.verb(home, *first_verb, *addresses)
        environment = {**os.environ, "DIOT_HOME": str(self.folder / home)}
        self.start_process([self.program, "run"], f"{home}.log", mqtt, environment)
        self.verb(home, "wait", "--ready", "--timeout", "30")
        return mqtt

    def start_alone(self):
        self.publish_port = self.subscribe_port = self.home("a", "init", "--handle", "alice")

    def start_pair(self):
        self.publish_port = self.home("a", "init", "--handle", "alice")
        self.verb("a", "share", "add", "bench/#", "--preset", "public")
        invite = self.verb("a", "invite")
        self.subscribe_port = self.home("b", "join", invite, "--handle", "bob")
        self.prefix = "@alice/"


class Case:
    """One row of a table: what diot-bench is to do, and with how many nodes."""

    def __init__(self, name, *arguments, nodes=1, latency=True, fresh=False, to_beat=(None, None)):
        self.name = name
        self.to_beat = to_beat  # mosquitto's CPU ÷ theirs, their messages/s ÷ mosquitto's, of the best broker measured
        self.nodes = nodes
        self.arguments = arguments
        self.latency = latency  # also at 1000 messages/s
        self.fresh = fresh  # a server of its own: what it held before would hide how its memory grows


def size_name(size):
    return f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} B"


def basic_cases(nodes, where):
    return [
        Case(f"{where}, QoS {qos}, {size_name(size)}", "--qos", str(qos), "--size", str(size), nodes=nodes)
        for qos in (0, 1)
        for size in (64, 1024)
    ]


def case(name, arguments, fresh=False, to_beat=(None, None)):
    return Case(name, *arguments.split(), latency=False, fresh=fresh, to_beat=to_beat)


def fast_cases():
    return [
        case("QoS 0, 100 publishers → 1", "--publishers 100 --window 100", to_beat=(9.5, 11)),
        case("QoS 0, 1 → 1", "", to_beat=(6.8, 7.7)),
        case("QoS 0, 1 → 1, 1 KiB", "--size 1024", to_beat=(3.4, 3.8)),
        case("QoS 0, 1 → 1000", "--subscribers 1000 --window 20", to_beat=(4.7, 7.6)),
        case("QoS 1, 1 → 1", "--qos 1", to_beat=(10, 9.7)),
        case("QoS 2, 1 → 1, 16 in flight", "--qos 2 --window 16", to_beat=(4.7, 4.3)),
        case("100,000 wildcard subscriptions", "--unrelated 100000", fresh=True, to_beat=(3.5, 4.1)),
        case("100,000 retained, replay", "--deliver retained --qos 1 --topics 100000", to_beat=(None, 2.7)),
        case("offline session, QoS 1, 100,000", "--deliver offline --qos 1 --count 100000"),
        case("9,990 idle connections", "--idle 9990 --rate 1000", fresh=True),
    ]


def heavy_cases():
    hundred = "--subscribers 100 --size 1024 --window 20"
    return [
        case("match, 1 other subscription", "--unrelated 1", fresh=True),
        case("match, 1000 others", "--unrelated 1000", fresh=True),
        case("match, 100,000 others", "--unrelated 100000", fresh=True),
        case("1 → 100, 1 KiB", hundred, fresh=True),
        case("1 → 100, 1 KiB, beside one that never reads", f"{hundred} --slow 1", fresh=True),
        case("QoS 1, 1 → 100, 1 KiB", f"{hundred} --qos 1", fresh=True),
        case("QoS 1, 1 → 100, 1 KiB, beside one that never reads", f"{hundred} --qos 1 --slow 1", fresh=True),
        case("1 MiB, QoS 0, 1 → 1", "--size 1048576 --window 4", fresh=True),
        case("1 MiB, QoS 1, 1 → 1", "--size 1048576 --window 4 --qos 1", fresh=True),
        case("1 MiB, QoS 0, 1 → 10", "--size 1048576 --window 2 --subscribers 10", fresh=True),
        case("9,990 connections cut, and back to kept sessions", "--idle 9990 --storm --rate 1000", fresh=True),
    ]


SETS = {
    "alone": lambda: basic_cases(1, "alone"),
    "pair": lambda: basic_cases(2, "A → B"),
    "fast": fast_cases,
    "heavy": heavy_cases,
}
# Everything that is asked of one broker.
ALIASES = {"broker": ["fast", "alone", "heavy"]}


def measure(options, system, arguments):
    command = [*options.bench_on, options.bench, "--json", f"--pub-port={system.publish_port}", f"--sub-port={system.subscribe_port}"]
    command += [f"--pid={pid}" for pid in system.pids()]
    if system.prefix:
        command.append(f"--sub-prefix={system.prefix}")
    try:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=CASE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failures": [f"not done after {CASE_SECONDS} s"]}
    if not done.stdout:
        return {"failures": [done.stderr.strip() or f"diot-bench ended with {done.returncode}"]}
    return json.loads(done.stdout)


class Figures:
    """What one system showed in one case, over the rounds."""

    def __init__(self):
        self.runs, self.timed = [], []

    def failures(self):
        return sorted({failure for run in self.runs + self.timed for failure in run.get("failures", [])})

    @staticmethod
    def median(runs, *path):
        values = []
        for run in runs:
            for key in path:
                run = run.get(key) if isinstance(run, dict) else None
            if run is not None:
                values.append(run)
        return statistics.median(values) if values else None

    def rate(self):
        return self.median(self.runs, "delivering", "delivered_per_s")

    def cpu(self):
        return self.median(self.runs, "delivering", "cpu_us_per_delivered")

    def latency(self, quantile):
        return self.median(self.timed, "latency", quantile)

    def generator(self):
        return self.median(self.runs, "delivering", "generator_busy")

    def notes(self):
        parts = []
        accepted = self.median(self.runs, "publishing", "published_per_s")
        if accepted:
            cpu = self.median(self.runs, "publishing", "cpu_us_per_published")
            parts.append(f"{accepted:,.0f}/s acknowledged before ({cpu:.2f} µs)")
        for option, one in (("idle", "connection"), ("unrelated", "subscription")):
            count = self.median(self.runs, "options", option)
            if count:
                grown = self.median(self.runs, "rss_bytes", "connected") - self.median(self.runs, "rss_bytes", "before")
                parts.append(f"{grown / count:,.0f} B a {one}")
        storm = self.median(self.runs, "storm", "seconds")
        if storm:
            cpu = self.median(self.runs, "storm", "cpu_us_per_connection")
            parts.append(f"all back after {storm:.2f} s ({cpu:.0f} µs of CPU a connection)")
        if self.median(self.runs, "options", "slow"):
            grown = self.median(self.runs, "rss_bytes", "after") - self.median(self.runs, "rss_bytes", "connected")
            parts.append(f"memory grew by {grown / (1 << 20):,.1f} MiB")
        return parts + self.failures()


def number(value, form):
    return "–" if value is None else format(value, form)


def ratio(over, under):
    return "–" if not over or not under else f"{over / under:.2f}"


def print_table(cases, names, figures):
    first, second = names if len(names) == 2 else (names[0], None)
    timed = any(case.latency for case in cases)
    goals = second is not None and any(any(case.to_beat) for case in cases)
    head = ["case"] + [f"{name} messages/s" for name in names]
    head += [f"{second} ÷ {first}"] if second else []
    head += ["to beat"] if goals else []
    head += [f"{name} CPU µs" for name in names]
    head += [f"{first} ÷ {second}"] if second else []
    head += ["to beat"] if goals else []
    head += [f"{name} p50 / p99 µs at 1000/s" for name in names] if timed else []
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for case in cases:
        of = [figures[case.name, name] for name in names]
        row = [case.name] + [number(figure.rate(), ",.0f") for figure in of]
        row += [ratio(of[1].rate(), of[0].rate())] if second else []
        row += [number(case.to_beat[1], "g")] if goals else []
        row += [number(figure.cpu(), ".2f") for figure in of]
        row += [ratio(of[0].cpu(), of[1].cpu())] if second else []
        row += [number(case.to_beat[0], "g")] if goals else []
        if timed:
            row += [f"{number(f.latency('p50_us'), '.0f')} / {number(f.latency('p99_us'), '.0f')}" for f in of]
        print("| " + " | ".join(row) + " |")
    print()
    for case in cases:
        for name in names:
            for note in figures[case.name, name].notes():
                print(f"- {case.name}, {name}: {note}")
    busiest = max((f.generator() or 0 for f in figures.values()), default=0)
    print(f"- busiest generator: {busiest * 100:.0f} % of one core")


def sync_microseconds(folder):
    """Median time of an fdatasync after 4 KiB more, where the homes lie."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(101):
            file.write(bytes(4096))
            file.flush()
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def machine_facts(folder, programs):
    cpu = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    release = pathlib.Path("/etc/os-release").read_text()
    system = next((l.split("=", 1)[1].strip('"') for l in release.splitlines() if l.startswith("PRETTY_NAME=")), "Linux")
    versions = []
    for program, argument in programs:
        done = subprocess.run([program, argument], capture_output=True, text=True, check=False)
        text = (done.stdout or done.stderr).strip()
        line = " ".join(text.splitlines()[0].split()) if text else "version unknown"
        name = pathlib.Path(program).name
        versions.append(line if line.startswith(name) else f"{name} {line}")
    return [
        f"{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, Linux {platform.release()}, {system}; "
        f"load average at the start {os.getloadavg()[0]:.1f}",
        f"{'; '.join(versions)}; fdatasync p50 {sync_microseconds(folder):.0f} µs",
    ]


def start_system(name, nodes, folder, options):
    system = Mosquitto(name, folder, options.mosquitto) if name == "mosquitto" else Diot(name, folder, options.diot)
    try:
        system.start(nodes)
    except Exception:
        system.stop()
        raise
    return system


def run_case(case, system, figure, options):
    duration = ["--duration", str(options.seconds)]
    figure.runs.append(measure(options, system, [*case.arguments, *duration]))
    if case.latency:
        figure.timed.append(measure(options, system, [*case.arguments, "--rate", "1000", *duration]))


def run_cases(cases, options, folder):
    figures = {(case.name, name): Figures() for case in cases for name in options.systems}
    shared = sorted({case.nodes for case in cases if not case.fresh})
    for turn in range(options.rounds):
        systems = {}
        try:
            for name in options.systems:
                for nodes in shared:
                    systems[name, nodes] = start_system(name, nodes, folder / f"{turn}-{name}-{nodes}", options)
            for case in cases:
                for name in options.systems if turn % 2 == 0 else options.systems[::-1]:
                    print(f"round {turn + 1}: {case.name}, {name}", file=sys.stderr)
                    place = folder / f"{turn}-{name}-{cases.index(case)}-fresh"
                    system = start_system(name, case.nodes, place, options) if case.fresh else systems[name, case.nodes]
                    try:
                        run_case(case, system, figures[case.name, name], options)
                    finally:
                        if case.fresh:
                            system.stop()
        finally:
            for system in systems.values():
                system.stop()
    return figures


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="TABLE", default=["alone", "pair"], help="alone, pair, fast, heavy; broker = all of one broker; (alone pair)")
    parser.add_argument(
        "--cores",
        choices=["all", "one", "contended"],
        default="all",
        help="one: the servers share core 0 and the load has core 1; contended: so does a busy loop with the servers",
    )
    parser.add_argument("--diot", default=str(ROOT / "build/release/diot"))
    parser.add_argument("--bench", default=str(ROOT / "build/release/diot-bench"))
    parser.add_argument("--mosquitto", default=shutil.which("mosquitto") or "/usr/sbin/mosquitto")
    parser.add_argument("--systems", nargs="+", choices=["mosquitto", "diot"], default=["mosquitto", "diot"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="measured for each figure (3)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--folder", help="where the homes are made: a real disk, for QoS 1 is synced to it")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    parser.add_argument("--json", help="write all single runs to this file")
    options = parser.parse_args()
    options.sets = [one for name in options.sets for one in ALIASES.get(name, [name])]
    for name in options.sets:
        if name not in SETS:
            parser.error(f"there is no table '{name}': {', '.join([*SETS, *ALIASES])}")
    options.bench_on = [] if options.cores == "all" else ["taskset", "-c", "1"]
    if options.cores != "all":
        System.runs_on = ["taskset", "-c", "0"]
    return options


def main():
    options = parse_arguments()
    for program in (options.bench, *(getattr(options, name) for name in options.systems)):
        if not shutil.which(program):
            sys.exit(f"run.py: {program} is not there: build it (cmake --preset release), or name another")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="diot-bench-", dir=options.folder))
    everything = {}
    busy = None
    if options.cores == "contended":
        busy = subprocess.Popen(["taskset", "-c", "0", sys.executable, "-c", "while True: pass"])
    try:
        versions = {"mosquitto": (options.mosquitto, "-h"), "diot": (options.diot, "version")}
        for fact in machine_facts(folder, [versions[name] for name in options.systems]):
            print(f"- {fact}")
        print(f"- `tools/bench/run.py {' '.join(sys.argv[1:])}`: {options.rounds} rounds of {options.seconds:g} s\n")
        for name in dict.fromkeys(options.sets):
            cases = [one for one in SETS[name]() if options.only in one.name]
            if not cases:
                continue
            place = folder / name
            place.mkdir()
            figures = run_cases(cases, options, place)
            print(f"### {name}\n")
            print_table(cases, options.systems, figures)
            print(flush=True)
            everything[name] = [
                {"case": case, "system": system, "runs": of.runs, "timed": of.timed}
                for (case, system), of in figures.items()
            ]
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(everything, indent=1))
    except Failed as failure:
        sys.exit(f"run.py: {failure}")
    finally:
        if busy:
            busy.kill()
            busy.wait()
        if options.keep:
            print(f"the logs are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
