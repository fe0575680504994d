"""The parts of a plan as tasks of Ray, then the join.

    python quantsmith_ray.py plan.json --parts 32 --cpus 8

Runs on the cluster that RAY_ADDRESS names, else on this machine alone. A task whose node is lost is run again by Ray, and
does what is left of its part.
"""

import argparse
import json
import subprocess
import sys
import time

import ray


@ray.remote(max_retries=4)
def run_part(command, plan, part, threads, more):
    done = subprocess.run(
        [command, "run", plan, "--part", part, "--threads", str(threads), *more],
        capture_output=True,
        text=True,
        check=False,
    )
    return part, done.returncode, done.stdout.strip(), done.stderr.strip()


def run(command, plan, numbers, parts, cpus, more):
    """Runs these parts; the messages of those that failed."""
    waiting = [
        run_part.options(num_cpus=cpus).remote(command, plan, f"{number}/{parts}", max(1, int(cpus)), more)
        for number in numbers
    ]
    failed = []
    while waiting:
        ready, waiting = ray.wait(waiting)
        part, code, said, error = ray.get(ready[0])
        print(said if code == 0 else f"part {part}: exit code {code}: {error}", flush=True)
        if code != 0:
            failed.append(part)
    return failed


def join(command, plan, more):
    """What `join` reports; an error of its own ends the program."""
    done = subprocess.run([command, "join", plan, "--json", *more], capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        sys.exit(done.stderr.strip())


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("plan", help="the plan, on a disk that all nodes share")
    arguments.add_argument("--parts", type=int, required=True)
    arguments.add_argument("--cpus", type=float, default=1, help="processors of a task, and its threads")
    arguments.add_argument("--rounds", type=int, default=3, help="times that missing parts are run again")
    arguments.add_argument("--evaluate", action="store_true", help="evaluate the joined files too, in as many parts")
    arguments.add_argument("--command", default="quantsmith")
    arguments.add_argument("more", nargs="*", help="further arguments of `quantsmith run`, after --")
    args = arguments.parse_args()

    ray.init(log_to_driver=False)
    work(args, [])
    if args.evaluate:
        work(args, ["--evaluate"])


def work(args, what):
    """Runs all parts of the files, or of their evaluation, and joins them."""
    started = time.monotonic()
    numbers = range(1, args.parts + 1)
    for _ in range(args.rounds + 1):
        run(args.command, args.plan, numbers, args.parts, args.cpus, what + args.more)
        report = join(args.command, args.plan, what)
        if report["joined"]:
            print(f"{report['directory']}: {'evaluated' if what else 'joined'}, {time.monotonic() - started:.1f} s")
            return
        numbers = [again["part"] for again in report["run_again"]]
        print(f"to be run again: {numbers}", flush=True)
    sys.exit("parts are missing")


if __name__ == "__main__":
    main()
