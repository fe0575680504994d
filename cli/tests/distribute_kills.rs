//! Parts that are killed, run twice and at once: the joined bytes are those of one machine.

use crate::support;

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use support::parts::{Case, start};
use support::{Random, has, quantsmith, text};

/// Parts that are killed at random moments, run twice, at once, in any order and on other numbers of threads; also joins
/// that are killed. The number of processes that were killed at work.
fn kill_and_join(points: u64, seed: u64) -> usize {
    let case = Case::new(12, &[]);
    let started = Instant::now();
    case.run("1/1");
    let longest = started.elapsed().max(Duration::from_millis(20));
    let mut random = Random(seed);
    let mut killed = 0;
    let mut done = 0;
    while done < points {
        let _ = fs::remove_dir_all(case.out());
        let count = 1 + random.next() % 4;
        let mut waiting: Vec<u64> = (1..=count).chain(1..=count).collect();
        for i in (1..waiting.len()).rev() {
            waiting.swap(i, (random.next() % (i as u64 + 1)) as usize);
        }
        // All of them twice, two or three at once, each killed at some moment.
        while !waiting.is_empty() {
            let at_once = waiting.split_off(waiting.len().saturating_sub(1 + random.next() as usize % 3));
            let mut children: Vec<Child> = at_once
                .iter()
                .map(|number| {
                    let mut args = case.part(&format!("{number}/{count}"));
                    args.extend(["--threads".into(), (1 + random.next() % 3).to_string()]);
                    args.extend([
                        "--max-memory".into(),
                        ["1M", "64M"][random.next() as usize % 2].into(),
                    ]);
                    start(&args)
                })
                .collect();
            let moment = longest.mul_f64((random.next() % 1000) as f64 / 1000.0 / count as f64);
            std::thread::sleep(moment);
            for child in &mut children {
                child.kill().unwrap();
                killed += usize::from(child.wait().unwrap().code().is_none());
                done += 1;
            }
        }
        // What the join names is what is missing: it, and nothing else, is run, until nothing is.
        let mut rounds = 0;
        loop {
            if random.next().is_multiple_of(3) {
                let mut child = start(&["join".to_owned(), text(&case.plan).to_owned()]);
                std::thread::sleep(longest.mul_f64((random.next() % 1000) as f64 / 1000.0));
                child.kill().unwrap();
                child.wait().unwrap();
            }
            let joined = quantsmith(&["join", text(&case.plan), "--json"])
                .output()
                .unwrap();
            if joined.status.success() {
                break;
            }
            let said = String::from_utf8_lossy(&joined.stderr).into_owned();
            let again: Vec<u64> = match serde_json::from_slice::<serde_json::Value>(&joined.stdout) {
                Ok(json) => {
                    let again = json["run_again"].as_array().unwrap();
                    again.iter().map(|a| a["part"].as_u64().unwrap()).collect()
                }
                // All were killed before they had begun.
                Err(_) => {
                    has(&said, &["expected parts of this plan, found none"]);
                    (1..=count).collect()
                }
            };
            assert!(!again.is_empty() && rounds < 3, "seed {seed}: {said}");
            rounds += 1;
            for number in again {
                case.run(&format!("{number}/{count}"));
            }
        }
        case.is_whole();
    }
    killed
}

#[test]
fn parts_that_are_killed_end_with_the_same_bytes() {
    assert!(kill_and_join(10, 1) > 0);
}

/// `cargo test --release -p quantsmith-cli --test all -- --ignored distribute_kills:: --nocapture`
#[test]
#[ignore = "an explicit command: a hundred kills"]
fn a_hundred_kills() {
    let started = Instant::now();
    let killed = kill_and_join(100, 2026);
    println!(
        "{killed} of 100 killed at work, in {:.0} s",
        started.elapsed().as_secs_f64()
    );
}
