//! Evaluations that are run in parts: the record is that of one machine's `table` to the last digit.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::parts::{copy, start};
use support::{Random, fails, names, quantsmith, succeeds, text, timeless};

const PRESETS: &str = "Q2_K,Q4_0,Q4_K,Q4_K_M,IQ2_XXS,Q8_0";
/// Files of these that are measured: one needs importance, and one is another name.
const MEASURED: usize = 4;

/// A model, the table of it that one machine has made and measured, and a plan whose files are joined.
struct Case {
    dir: tempfile::TempDir,
    plan: PathBuf,
    whole: PathBuf,
    evaluation: Vec<String>,
}

impl Case {
    fn new(chunks: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = support::demo_copy(dir.path());
        Self::of(dir, &model, PRESETS, &[], &["-c", "32", "--chunks", chunks])
    }

    fn of(dir: tempfile::TempDir, model: &Path, presets: &str, files: &[&str], evaluation: &[&str]) -> Self {
        let (whole, plan) = (dir.path().join("whole"), dir.path().join("plan.json"));
        let matrix: &[&str] = match files.contains(&"--imatrix") {
            true => &[],
            false => &["--imatrix", "none"],
        };
        let table = ["table", text(model), "--types", presets, "--out", text(&whole)];
        succeeds(&[&table[..], matrix, files, evaluation].concat());
        let case = Self {
            plan,
            whole,
            evaluation: evaluation.iter().map(|a| (*a).to_owned()).collect(),
            dir,
        };
        let out = case.out();
        let args = ["plan", text(model), "--presets", presets, "--out", text(&out)];
        let more = ["-o", text(&case.plan), "--evaluate"];
        succeeds(&[&args[..], &more, files, evaluation].concat());
        for part in ["1/2", "2/2"] {
            succeeds(&["run", text(&case.plan), "--part", part]);
        }
        succeeds(&["join", text(&case.plan)]);
        case
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn out(&self) -> PathBuf {
        self.at("out")
    }

    fn args(&self, part: &str) -> Vec<String> {
        let args = ["run", text(&self.plan), "--evaluate", "--part", part];
        args.iter().map(|a| (*a).to_owned()).collect()
    }

    #[track_caller]
    fn run_with(&self, part: &str, more: &[&str]) -> String {
        let args = self.args(part);
        let args: Vec<&str> = args
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        succeeds(&args)
    }

    #[track_caller]
    fn run(&self, part: &str) -> String {
        self.run_with(part, &[])
    }

    fn join(&self) -> Vec<&str> {
        vec!["join", text(&self.plan), "--evaluate"]
    }

    /// File of one kind that a part has left: `part` or `weights`.
    fn left(&self, kind: &str, part: u32, of: u32) -> PathBuf {
        let folder = self.out().join(".Demo.evaluation");
        folder.join(format!("{kind}-{part}-of-{of}"))
    }

    /// The record is the table's but for times, and nothing is left of the parts.
    #[track_caller]
    fn is_whole(&self) {
        let (expected, found) = (timeless(&self.whole), timeless(&self.out()));
        assert_eq!(found["rows"], expected["rows"]);
        assert_eq!(found, expected);
        let left: Vec<String> = names(&self.out())
            .into_iter()
            .filter(|n| n.starts_with('.'))
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(
            left[0].ends_with(".evaluated") && left[1].ends_with(".joined"),
            "{left:?}"
        );
    }

    /// As before the first part of the evaluation.
    fn forget(&self) {
        for name in names(&self.out()) {
            let path = self.out().join(&name);
            if name.ends_with(".evaluated") || support::OF_THE_RUN.contains(&name.as_str()) {
                fs::remove_file(path).unwrap();
            } else if name.ends_with(".evaluation") {
                fs::remove_dir_all(path).unwrap();
            }
        }
    }
}

#[test]
fn parts_in_any_order_make_the_record_of_one_machine() {
    let case = Case::new("16");
    // As many parts as windows and fewer, and more than that: files of a window then.
    for (count, order) in [
        (1, vec![1]),
        (3, vec![2, 3, 1, 2]),
        (21, (1..=21).rev().collect::<Vec<_>>()),
    ] {
        case.forget();
        let mut runs = 0;
        for (i, number) in order.iter().enumerate() {
            let threads = (1 + i % 3).to_string();
            let memory = ["80M", "1GiB"][i % 2];
            let part = format!("{number}/{count}");
            let said = case.run_with(&part, &["--threads", &threads, "--max-memory", memory]);
            assert!(!case.out().join("table.json").exists());
            let number = |text: &str| text.split(' ').find_map(|w| w.parse::<usize>().ok()).unwrap();
            if !said.contains("there already") {
                runs += number(said.split_once(": ").unwrap().1);
            }
        }
        assert_eq!(runs, 16 * MEASURED, "{count} parts");
        let report = succeeds(&[&case.join()[..], &["--json"]].concat());
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["joined"], true);
        let recorded = timeless(&case.whole);
        let kld = &recorded["rows"][0]["measured"]["kld"]["value"];
        assert!(kld.as_f64().unwrap() > 0.0);
        assert_eq!(report["table"]["rows"][0]["kld"], *kld);
        case.is_whole();
    }
    // A straggler and a second join find nothing to do.
    assert!(case.run("2/3").contains("joined already"));
    assert!(succeeds(&case.join()).contains("evaluated on"));
    case.is_whole();
}

#[test]
fn suites_matrices_and_files_that_lie_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let model = support::demo_copy(dir.path());
    let suite = dir.path().join("suite");
    fs::create_dir(&suite).unwrap();
    let words = fs::read_to_string(Path::new(support::DEMO).join("eval.txt")).unwrap();
    let middle = words.floor_char_boundary(3000);
    fs::write(suite.join("a.txt"), &words[..middle]).unwrap();
    fs::write(
        suite.join("b.txt"),
        &words[middle..words.floor_char_boundary(7000)],
    )
    .unwrap();
    let matrix = dir.path().join("i.gguf");
    let (f16, calibration) = (dir.path().join("f16.gguf"), dir.path().join("c.txt"));
    succeeds(&["convert", text(&model), text(&f16), "--outtype", "f16"]);
    fs::write(&calibration, &words[..words.floor_char_boundary(20_000)]).unwrap();
    succeeds(&[
        "imatrix",
        text(&f16),
        text(&calibration),
        "-o",
        text(&matrix),
        "-c",
        "64",
        "--process-output",
    ]);
    let (matrix, suite) = (text(&matrix).to_owned(), text(&suite).to_owned());
    let case = Case::of(
        dir,
        &model,
        "IQ2_XXS,Q4_K_M",
        &[
            "--imatrix",
            &matrix,
            "--imatrix-name",
            "of somebody",
            "--split-max-tensors",
            "9",
        ],
        &["--suite", &suite, "-c", "32", "--rounding", "none"],
    );
    // On another machine: all lies elsewhere, and its files are those that were joined.
    let there = case.at("there");
    fs::create_dir(&there).unwrap();
    for name in ["suite", "out"] {
        copy(&case.at(name), &there.join(name));
    }
    fs::copy(&matrix, there.join("i.gguf")).unwrap();
    let at = |name: &str| text(&there.join(name)).to_owned();
    let (moved_suite, moved_matrix, out) = (at("suite"), at("i.gguf"), at("out"));
    let more = ["--texts", &moved_suite, "--imatrix", &moved_matrix, "--out", &out];
    case.run_with("2/2", &more);
    case.run("1/2");
    copy(
        &there.join("out/.Demo.evaluation"),
        &case.out().join(".Demo.evaluation"),
    );
    succeeds(&case.join());
    case.is_whole();
    let record = timeless(&case.out());
    assert_eq!(record["importance"]["recorded_as"], "of somebody");
    assert_eq!(record["rows"][0]["measured"]["domains"][1]["name"], "b");
}

#[test]
fn missing_and_damaged_parts_are_named_and_mended() {
    let case = Case::new("12");
    let join = case.join();
    fails(&join, &["expected parts of this plan's evaluation, found none"]);
    for part in ["1/4", "3/4", "4/4"] {
        case.run(part);
    }
    fails(
        &join,
        &["part 2/4: not run", "1 of 4 parts", "to be run again: 2"],
    );
    case.run("2/4");
    // A byte of an observation, and a journal cut as by a power failure.
    let journal = case.left("part", 3, 4);
    let whole = fs::read(&journal).unwrap();
    let mut bytes = whole.clone();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    for damaged in [&bytes[..], &whole[..whole.len() - 5]] {
        fs::write(&journal, damaged).unwrap();
        let told = [
            "part 3/4: Q8_0: 1 of windows 8 to 8: expected the observations that were noted",
            "to be run again: 3",
        ];
        fails(&join, &told);
    }
    let json = quantsmith(&[&join[..], &["--json"]].concat()).output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&json["joined"], &json["run_again"][0]["part"]),
        (&false.into(), &3.into())
    );
    let weights = case.left("weights", 1, 4);
    let errors = fs::read_to_string(&weights).unwrap();
    fs::write(&weights, errors.replacen("error 0 1 ", "error 0 1 1", 1)).unwrap();
    fails(&join, &["part 1/4: errors of weights", "to be run again: 1,3"]);
    assert!(!case.out().join("table.json").exists());
    for part in ["1/4", "3/4"] {
        assert!(case.run(part).contains("there already"), "{part}");
    }
    succeeds(&join);
    case.is_whole();
}

#[test]
fn other_plans_versions_files_and_texts_are_refused() {
    let case = Case::new("8");
    let out = case.out();
    let model = case.at("Demo");
    // A plan without an evaluation, and files that are not joined yet.
    let plain = case.at("plain.json");
    let plan = [
        "plan",
        text(&model),
        "--presets",
        PRESETS,
        "--out",
        text(&out),
        "-o",
    ];
    succeeds(&[&plan[..], &[text(&plain)]].concat());
    for args in [
        &["run", text(&plain), "--part", "1/2"][..],
        &["join", text(&plain)],
    ] {
        fails(
            &[args, &["--evaluate"]].concat(),
            &["has no evaluation", "plan --evaluate"],
        );
    }
    let elsewhere = case.at("elsewhere");
    fails(
        &[
            "run",
            text(&case.plan),
            "--evaluate",
            "--part",
            "1/2",
            "--out",
            text(&elsewhere),
        ],
        &["elsewhere", "not joined here", "quantsmith join"],
    );
    case.run("1/2");
    // Other windows are another plan; its files are the same, but joined as the first plan's.
    let other = case.at("other.json");
    let fewer = ["-o", text(&other), "--evaluate", "-c", "32", "--chunks", "6"];
    succeeds(&[&plan[..6], &fewer].concat());
    fails(
        &["run", text(&other), "--evaluate", "--part", "2/2"],
        &["not joined here"],
    );
    parts_of_others(&case);
    texts_that_change(&case, &plan[..6]);
    files_that_change(&case);
    succeeds(&case.join());
    case.is_whole();
}

/// Another number of parts, another version, a part of another plan, and a stolen window.
fn parts_of_others(case: &Case) {
    fails(
        &["run", text(&case.plan), "--evaluate", "--part", "1/3"],
        &["part-1-of-2", "one of 3 parts"],
    );
    case.run("2/2");
    let journal = case.left("part", 2, 2);
    let whole = fs::read(&journal).unwrap();
    let line = whole.iter().position(|&b| b == b'\n').unwrap();
    let first = String::from_utf8(whole[..line].to_vec()).unwrap();
    for (from, to, told) in [
        (
            "tool=",
            "tool=0.0.1 and ",
            ["expected a part of version", "found one of 0.0.1 and"],
        ),
        (
            "plan=",
            "plan=0",
            ["expected a part of plan", "found one of plan 0"],
        ),
    ] {
        fs::write(
            &journal,
            [first.replacen(from, to, 1).as_bytes(), &whole[line..]].concat(),
        )
        .unwrap();
        let told = ["part-2-of-2", told[0], told[1]];
        fails(&case.join(), &told);
        fails(&["run", text(&case.plan), "--evaluate", "--part", "1/2"], &told);
    }
    let of_first = fs::read(case.left("part", 1, 2)).unwrap();
    let record = of_first.iter().position(|&b| b == b'\n').unwrap() + 1;
    fs::write(&journal, [&whole[..], &of_first[record..]].concat()).unwrap();
    fails(
        &case.join(),
        &[
            "part 2/2: expected runs of its own in its journal",
            "another part's",
        ],
    );
    fs::write(&journal, &whole).unwrap();
}

/// A text that has changed is no input of the plan, and gives no part.
fn texts_that_change(case: &Case, plan: &[&str]) {
    let evaluation: Vec<&str> = case.evaluation.iter().map(String::as_str).collect();
    let words = case.at("words.txt");
    fs::write(
        &words,
        fs::read_to_string(Path::new(support::DEMO).join("eval.txt")).unwrap(),
    )
    .unwrap();
    let with_text = case.at("text.json");
    let more = ["-o", text(&with_text), "--evaluate", "--text", text(&words)];
    succeeds(&[plan, &more, &evaluation].concat());
    fs::write(&words, "other words ".repeat(4000)).unwrap();
    fails(
        &["run", text(&with_text), "--evaluate", "--part", "1/2"],
        &["words.txt", "of the plan: ", "expected"],
    );
    // Files need no text.
    let fresh = case.at("fresh");
    succeeds(&["run", text(&with_text), "--part", "1/1", "--out", text(&fresh)]);
}

/// A file that is not what was joined is not measured, and what was measured before is not joined with it.
fn files_that_change(case: &Case) {
    let out = case.out();
    let file = out.join("Demo-Q4_0.gguf");
    let bytes = fs::read(&file).unwrap();
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&file, &changed).unwrap();
    fails(
        &case.join(),
        &["Demo-Q4_0.gguf", "not the file that part", "expected SHA-256"],
    );
    fs::remove_file(case.left("weights", 2, 2)).unwrap();
    fails(
        &["run", text(&case.plan), "--evaluate", "--part", "2/2"],
        &["Demo-Q4_0.gguf", "expected SHA-256", "SHA256SUMS"],
    );
    fs::write(&file, &bytes).unwrap();
    case.run("2/2");
}

/// The suite inside the program is no file, and no input.
#[test]
fn the_bundled_suite() {
    let dir = tempfile::tempdir().unwrap();
    let model = support::demo_copy(dir.path());
    let evaluation = ["--suite", "builtin", "-c", "32", "--chunks", "2"];
    let case = Case::of(dir, &model, "Q4_0", &[], &evaluation);
    for part in ["1/2", "2/2"] {
        case.run(part);
    }
    succeeds(&case.join());
    case.is_whole();
}

/// Parts that are killed at random moments, run twice and at once.
#[test]
fn parts_that_are_killed_end_with_the_same_record() {
    let case = Case::new("60");
    let started = std::time::Instant::now();
    case.run("1/1");
    let longest = started.elapsed();
    let mut random = Random(7);
    let mut killed = 0;
    for _ in 0..3 {
        case.forget();
        for number in [2, 1, 3, 1] {
            let mut children: Vec<_> = [number, 1 + number % 3]
                .map(|n| start(&case.args(&format!("{n}/3"))))
                .into();
            std::thread::sleep(Duration::max(
                longest.mul_f64((random.next() % 1000) as f64 / 2000.0),
                Duration::from_millis(5),
            ));
            for child in &mut children {
                child.kill().unwrap();
                killed += usize::from(child.wait().unwrap().code().is_none());
            }
        }
        for part in ["3/3", "1/3", "2/3"] {
            case.run(part);
        }
        succeeds(&case.join());
        case.is_whole();
    }
    assert!(killed > 0);
}
