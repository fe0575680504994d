//! Plans that are run in parts: the joined bytes are those of one machine, and what is missing or wrong is named.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{fails, imatrix, names, plain, quantsmith, succeeds, text, tiny};

const PRESETS: &str = "Q4_K_M,Q4_K,Q8_0,Q2_K,IQ4_NL,F16";

/// A model, its plan, and the files that `table` makes of it.
struct Case {
    dir: tempfile::TempDir,
    model: PathBuf,
    plan: PathBuf,
    whole: Vec<(String, Vec<u8>)>,
}

impl Case {
    fn new(layers: u32, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = tiny(&dir.path().join("tiny.gguf"), layers, plain);
        Self::of(dir, model, PRESETS, more)
    }

    fn of(dir: tempfile::TempDir, model: PathBuf, presets: &str, more: &[&str]) -> Self {
        let (whole, plan) = (dir.path().join("whole"), dir.path().join("plan.json"));
        let only_table = |a: &&&str| !matches!(**a, "--cut" | "files");
        let mut args = vec!["table", text(&model), "--no-eval", "--types", presets];
        args.extend(more.iter().filter(only_table));
        args.extend(["--out", text(&whole)]);
        succeeds(&args);
        let mut args = vec!["plan", text(&model), "--presets", presets, "-o", text(&plan)];
        args.extend(more);
        let out = dir.path().join("out");
        args.extend(["--out", text(&out)]);
        succeeds(&args);
        let whole = contents(&whole);
        Self {
            dir,
            model,
            plan,
            whole,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn out(&self) -> PathBuf {
        self.at("out")
    }

    fn part(&self, part: &str) -> Vec<String> {
        let args = ["run", text(&self.plan), "--part", part];
        args.iter().map(|a| (*a).to_owned()).collect()
    }

    #[track_caller]
    fn run(&self, part: &str) -> String {
        let args = self.part(part);
        succeeds(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[track_caller]
    fn join(&self) -> String {
        succeeds(&["join", text(&self.plan)])
    }

    /// The files, their bytes and `SHA256SUMS` are those that `table` made, and nothing is left beside them.
    #[track_caller]
    fn is_whole(&self) {
        let marker = ".tiny.joined".to_owned();
        let mut expected: Vec<String> = self.whole.iter().map(|(n, _)| n.clone()).collect();
        let mut found = names(&self.out());
        found.retain(|n| !(n.starts_with('.') && n.ends_with(".joined")));
        assert!(found.len() < names(&self.out()).len(), "{marker} is not there");
        expected.sort();
        assert_eq!(found, expected);
        for (name, bytes) in &self.whole {
            assert!(
                fs::read(self.out().join(name)).unwrap() == *bytes,
                "{name}: other bytes"
            );
        }
    }
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let bytes = fs::read(folder.join(&name)).unwrap();
        (name, bytes)
    };
    support::products(folder).into_iter().map(read).collect()
}

fn start(args: &[String]) -> Child {
    Command::new(quantsmith(&[]).get_program())
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn parts_in_any_order_make_the_bytes_of_one_machine() {
    let case = Case::new(4, &[]);
    for (count, order) in [
        (1, vec![1]),
        (3, vec![2, 3, 1, 2]),
        (40, (1..=40).rev().collect()),
    ] {
        let _ = fs::remove_dir_all(case.out());
        for (i, number) in order.iter().enumerate() {
            let mut args = case.part(&format!("{number}/{count}"));
            // Other threads and other memory cut the work otherwise.
            args.extend(["--threads".into(), (1 + i % 3).to_string()]);
            args.extend(["--max-memory".into(), ["1M", "2M", "1GiB"][i % 3].into()]);
            succeeds(&args.iter().map(String::as_str).collect::<Vec<_>>());
            let left = names(&case.out());
            assert!(
                left.iter().all(|n| n.starts_with('.')),
                "published before the join: {left:?}"
            );
        }
        assert!(case.join().contains("SHA256SUMS"));
        case.is_whole();
    }
    // A straggler and a second join find nothing to do.
    assert!(case.run("2/3").contains("joined already"));
    assert!(case.join().contains("joined already"));
    case.is_whole();
}

#[test]
fn plans_are_the_same_each_time_and_readable() {
    let case = Case::new(2, &[]);
    let first = fs::read_to_string(&case.plan).unwrap();
    let again = case.at("again.json");
    let out = case.out();
    let args = [
        "plan",
        text(&case.model),
        "--presets",
        PRESETS,
        "--out",
        text(&out),
    ];
    succeeds(&[&args[..], &["-o", text(&again)]].concat());
    assert_eq!(fs::read_to_string(&again).unwrap(), first);
    let value: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(value["format"], "quantsmith-plan 1");
    assert_eq!(value["files"].as_array().unwrap().len(), 5);
    assert_eq!(value["links"][0]["file"], "tiny-Q4_K.gguf");
    let sum = convert::digest::file_sha256(&case.model).unwrap();
    assert_eq!(value["inputs"][0]["sha256"], sum.as_str());
    let tensors = value["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 20);
    assert!(first.lines().count() < 20 + 5 + 25, "one line each");
    // Every byte of a tensor is in a file of the plan, once.
    let files: usize = tensors
        .iter()
        .flat_map(|t| t["encodings"].as_array().unwrap())
        .map(|e| e["files"].as_array().unwrap().len())
        .sum();
    assert_eq!(files, 20 * 5);
}

#[test]
fn importance_rules_and_directories_are_part_of_a_plan() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 2, plain);
    let matrix = imatrix(
        &dir.path().join("i.dat"),
        &["blk.0.attn_q.weight", "blk.1.ffn_up.weight"],
        256,
    );
    let matrix = text(&matrix).to_owned();
    let more = [
        "--imatrix",
        &matrix,
        "--tensor-type",
        "ffn_down=q5_1",
        "--exclude-weights",
        "ffn_up",
    ];
    let case = Case::of(dir, model, "Q4_K_S,Q3_K_M", &more);
    // The matrix and the model lie elsewhere on the machines that work.
    for (from, to) in [("tiny.gguf", "moved.gguf"), ("i.dat", "moved.dat")] {
        fs::rename(case.at(from), case.at(to)).unwrap();
    }
    let (model, matrix) = (case.at("moved.gguf"), case.at("moved.dat"));
    let moved = ["--model", text(&model), "--imatrix", text(&matrix)];
    for part in ["1/2", "2/2"] {
        succeeds(
            &[
                &["run", text(&case.plan), "--part", part, "--check", "content"][..],
                &moved,
            ]
            .concat(),
        );
    }
    succeeds(&[&["join", text(&case.plan)][..], &moved].concat());
    case.is_whole();
}

#[test]
fn a_model_directory_is_planned_too() {
    let dir = tempfile::tempdir().unwrap();
    let model = support::demo_copy(dir.path());
    let case = Case::of(dir, model, "Q4_K_M,Q8_0", &[]);
    for part in ["1/2", "2/2"] {
        case.run(part);
    }
    case.join();
    case.is_whole();
    // Its small files are inputs as well.
    fs::remove_dir_all(case.out()).unwrap();
    let config = case.model.join("config.json");
    let other = fs::read_to_string(&config).unwrap() + "\n";
    fs::write(&config, other).unwrap();
    let run = ["run", text(&case.plan), "--part", "1/2"];
    fails(&run, &["config.json", "not the plan's input", "bytes: expected"]);
}

#[test]
fn whole_files_need_no_disk_in_common() {
    let case = Case::new(3, &["--cut", "files", "--split-max-tensors", "9"]);
    let places: Vec<PathBuf> = (1..=3).map(|n| case.at(&format!("node{n}"))).collect();
    let mut seen = 0;
    for (i, place) in places.iter().enumerate() {
        let part = format!("{}/3", i + 1);
        let run = ["run", text(&case.plan), "--part", &part, "--out", text(place)];
        succeeds(&run);
        // Each file is whole and named by itself, and no other node has it.
        for name in names(place).iter().filter(|n| n.ends_with(".gguf")) {
            let (_, bytes) = case.whole.iter().find(|(n, _)| n == name).unwrap();
            assert!(fs::read(place.join(name)).unwrap() == *bytes, "{name}");
            gguf::GgufFile::open(&place.join(name)).unwrap();
            seen += 1;
        }
        // A second time there is nothing to do.
        assert!(succeeds(&run).contains("there already"));
    }
    let links = 4;
    assert_eq!(seen, case.whole.len() - 1 - links);
    // Two of three brought together: the third is named.
    let gather = |place: &Path| copy(place, &case.out());
    gather(&places[0]);
    gather(&places[2]);
    fails(
        &["join", text(&case.plan)],
        &["part 2/3: not run", "to be run again: 2"],
    );
    gather(&places[1]);
    case.join();
    case.is_whole();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in from.read_dir().unwrap().map(Result::unwrap) {
        let target = to.join(item.file_name());
        match item.file_type().unwrap().is_dir() {
            true => copy(&item.path(), &target),
            false => drop(fs::copy(item.path(), target).unwrap()),
        }
    }
}

/// The journal of a part.
fn journal(case: &Case, part: u32, of: u32) -> PathBuf {
    case.out()
        .join(".tiny.parts")
        .join(format!("part-{part}-of-{of}"))
}

#[test]
fn missing_and_damaged_parts_are_named_and_mended() {
    let case = Case::new(4, &[]);
    let join = ["join", text(&case.plan)];
    fails(&join, &["no part of this plan has been run here"]);
    for part in ["1/4", "3/4", "4/4"] {
        case.run(part);
    }
    fails(
        &join,
        &["part 2/4: not run", "1 of 4 parts", "to be run again: 2"],
    );
    case.run("2/4");
    // A byte of the middle of a file, where some part's range is.
    let partial = case.out().join(".tiny-Q8_0.gguf.partial");
    let mut bytes = fs::read(&partial).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&partial, &bytes).unwrap();
    let said = fails(
        &join,
        &[
            "tiny-Q8_0.gguf: tensor 'blk.",
            "not the bytes that were noted",
            "1 of 4 parts",
        ],
    );
    let number = said.trim_end().rsplit(' ').next().unwrap().to_owned();
    let json = quantsmith(&["join", text(&case.plan), "--json"])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["run_again"][0]["part"].to_string(), number);
    assert_eq!(json["joined"], false);
    // Part of a journal lost, as by a power cut.
    let cut = journal(&case, number.parse::<u32>().unwrap() % 4 + 1, 4);
    let whole = fs::read(&cut).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    fails(&join, &["not all written", "2 of 4 parts"]);
    // The header and the padding between tensors are nobody's, and made good by the join.
    let mut bytes = fs::read(&partial).unwrap();
    bytes[100] ^= 1;
    fs::write(&partial, &bytes).unwrap();
    for part in ["1/4", "2/4", "3/4", "4/4"] {
        case.run(part);
    }
    case.join();
    case.is_whole();
}

#[test]
fn other_plans_versions_and_numbers_of_parts_are_refused() {
    let case = Case::new(2, &[]);
    let other = case.at("other.json");
    let out = case.out();
    let args = [
        "plan",
        text(&case.model),
        "--presets",
        "Q4_0",
        "--out",
        text(&out),
    ];
    succeeds(&[&args[..], &["-o", text(&other)]].concat());
    case.run("1/2");
    // A part of another plan in the same place.
    fails(
        &["run", text(&other), "--part", "2/2"],
        &["part-1-of-2", "a part of another plan"],
    );
    fails(
        &["join", text(&other)],
        &["part-1-of-2", "a part of another plan"],
    );
    // Another number of parts.
    fails(
        &["run", text(&case.plan), "--part", "1/3"],
        &["part-1-of-2", "one of 3 parts"],
    );
    // Another version's part, and another version's plan.
    case.run("2/2");
    let path = journal(&case, 2, 2);
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replacen("tool=", "tool=0.0.1 and ", 1)).unwrap();
    let version = ["part-2-of-2", "a part made by another version", "found 0.0.1 and"];
    fails(&["join", text(&case.plan)], &version);
    fails(&["run", text(&case.plan), "--part", "1/2"], &version);
    fs::write(&path, &whole).unwrap();
    let plan = fs::read_to_string(&case.plan).unwrap();
    let old = case.at("old.json");
    fs::write(&old, plan.replacen("\"tool\": \"", "\"tool\": \"0.0.1 and ", 1)).unwrap();
    for args in [&["run", text(&old), "--part", "1/2"][..], &["join", text(&old)]] {
        fails(args, &["old.json", "key 'tool'", "0.0.1 and"]);
    }
    // A journal that notes what belongs to another part.
    let first = fs::read_to_string(journal(&case, 1, 2)).unwrap();
    let stolen = first.lines().nth(1).unwrap();
    fs::write(&path, format!("{whole}{stolen}\n")).unwrap();
    fails(
        &["join", text(&case.plan)],
        &["part 2/2: its journal notes", "overlaps other parts"],
    );
    fs::write(&path, &whole).unwrap();
    // A plan whose files are not what this model gives.
    let edited = case.at("edited.json");
    fs::write(
        &edited,
        plan.replacen("\"piece_rows\":1024", "\"piece_rows\":512", 1),
    )
    .unwrap();
    fails(
        &["join", text(&edited)],
        &["gives another plan", "tensor 0: expected", "512"],
    );
    case.join();
    case.is_whole();
}

#[test]
fn changed_inputs_are_refused() {
    let case = Case::new(2, &[]);
    let bytes = fs::read(&case.model).unwrap();
    let run = ["run", text(&case.plan), "--part", "1/2"];
    let content = [&run[..], &["--check", "content"]].concat();
    // The last weight, which a sample sees; one in the middle only a reading of everything is sure to see.
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&case.model, &other).unwrap();
    fails(&run, &["tiny.gguf", "not the plan's input", "digest of samples"]);
    let mut unseen = None;
    for at in (bytes.len() / 2..bytes.len()).step_by(1000) {
        let mut other = bytes.clone();
        other[at] ^= 1;
        fs::write(&case.model, &other).unwrap();
        let looked = quantsmith(&content).output().unwrap();
        assert_eq!(looked.status.code(), Some(1), "byte {at}");
        let said = String::from_utf8_lossy(&looked.stderr).into_owned();
        if said.contains("SHA-256: expected") {
            unseen = Some(at);
            break;
        }
    }
    assert!(unseen.is_some(), "samples saw every change");
    assert!(!case.out().exists(), "nothing is begun");
}

#[test]
fn schedulers_variables_name_the_part() {
    let case = Case::new(2, &[]);
    let run = |variables: &[(&str, &str)]| {
        let mut command = quantsmith(&["run", text(&case.plan)]);
        for name in [
            "SLURM_ARRAY_TASK_ID",
            "JOB_COMPLETION_INDEX",
            "RANK",
            "WORLD_SIZE",
        ] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied()).output().unwrap()
    };
    support::told(&run(&[]), &["--part I/N"]);
    let slurm = [
        ("SLURM_ARRAY_TASK_ID", "5"),
        ("SLURM_ARRAY_TASK_COUNT", "3"),
        ("SLURM_ARRAY_TASK_MIN", "5"),
        ("SLURM_ARRAY_TASK_MAX", "7"),
    ];
    let done = [
        run(&slurm),
        run(&[("JOB_COMPLETION_INDEX", "1"), ("JOB_COMPLETIONS", "3")]),
        run(&[("RANK", "2"), ("WORLD_SIZE", "3")]),
    ];
    for (done, part) in done.iter().zip(["part 1/3", "part 2/3", "part 3/3"]) {
        assert!(
            String::from_utf8_lossy(&done.stdout).starts_with(part),
            "{done:?}"
        );
    }
    case.join();
    case.is_whole();
}

#[test]
fn a_part_is_run_by_one_process_at_a_time() {
    let case = Case::new(2, &[]);
    case.run("1/2");
    let held = fs::File::open(journal(&case, 1, 2)).unwrap();
    held.lock().unwrap();
    fails(
        &["run", text(&case.plan), "--part", "1/2"],
        &["part 1/2: another process is at work"],
    );
    fails(
        &["join", text(&case.plan)],
        &["part-1-of-2", "another process is at work"],
    );
    // Another part is not held up; the join is while it writes.
    case.run("2/2");
    drop(held);
    let partial = fs::File::open(case.out().join(".tiny-F16.gguf.partial")).unwrap();
    partial.lock_shared().unwrap();
    fails(
        &["join", text(&case.plan)],
        &["tiny-F16.gguf", "another process is writing this file"],
    );
    drop(partial);
    case.join();
    case.is_whole();
}

/// A generator of reproducible numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }
}

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
                    assert!(said.contains("no part of this plan has been run here"), "{said}");
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

/// `cargo test --release -p quantsmith-cli --test distribute -- --ignored --nocapture`
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

#[test]
fn hostile_plans_are_refused() {
    let case = Case::new(1, &[]);
    let plan = fs::read_to_string(&case.plan).unwrap();
    let path = case.at("bad.json");
    for (text_of, told) in [
        (String::new(), "not a plan"),
        ("{}".to_owned(), "key 'format'"),
        (plan[..plan.len() / 2].to_owned(), "not a plan"),
        (
            plan.replace("\"name\":\"tiny\"", "\"name\":\"../tiny\""),
            "name \"../tiny\"",
        ),
        (
            plan.replace("\"presets\":[\"Q4_K_M\"", "\"presets\":[\"Q99\""),
            "\"Q99\"",
        ),
        (
            plan.replace("\"cut\":\"rows\"", "\"cut\":\"rows\",\"more\":1"),
            "unknown field",
        ),
        (
            plan.replace("\"files\":[0", "\"files\":[99999"),
            "gives another plan",
        ),
    ] {
        fs::write(&path, text_of).unwrap();
        for command in [&["run", text(&path), "--part", "1/1"][..], &["join", text(&path)]] {
            fails(command, &[told]);
        }
    }
}

/// Parts of any cut, made on any number of threads and joined in any order, are one run to the byte.
#[test]
fn importance_in_parts_is_that_of_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (model, calibration) = (at("model.gguf"), at("text.txt"));
    succeeds(&["convert", support::DEMO, &model, "--outtype", "f16"]);
    let words = fs::read_to_string(Path::new(support::DEMO).join("eval.txt")).unwrap();
    fs::write(&calibration, &words).unwrap();
    // Steps of eight windows; 21 windows are no whole number of them.
    let options = ["-c", "256", "--chunks", "21", "--process-output"];
    let whole = at("whole.gguf");
    succeeds(&[&["imatrix", &model, &calibration, "-o", &whole][..], &options].concat());
    let expected = fs::read(&whole).unwrap();
    let run = |part: &str, threads: &str| {
        let out = at("parts.gguf");
        let args = [
            "imatrix",
            &model,
            &calibration,
            "-o",
            &out,
            "--part",
            part,
            "--threads",
            threads,
        ];
        succeeds(&[&args[..], &options].concat());
    };
    for count in [1, 2, 3, 5] {
        let mut files = Vec::new();
        for number in (1..=count).rev() {
            run(&format!("{number}/{count}"), &(1 + number % 3).to_string());
            files.push(at(&format!("parts.gguf.part-{number}-of-{count}")));
        }
        let joined = at("joined.gguf");
        let mut args = vec!["imatrix", "--join", "-o", &joined];
        args.extend(files.iter().map(String::as_str));
        succeeds(&args);
        assert!(fs::read(&joined).unwrap() == expected, "{count} parts");
    }
    let (first, second, third) = (
        at("parts.gguf.part-1-of-3"),
        at("parts.gguf.part-2-of-3"),
        at("parts.gguf.part-3-of-3"),
    );
    let out = at("out.gguf");
    let join = ["imatrix", "--join", "-o", &out];
    fails(
        &[&join[..], &[&first, &third]].concat(),
        &["part-3-of-3", "a part is missing"],
    );
    fails(
        &[&join[..], &[&first, &second]].concat(),
        &["the last part is missing"],
    );
    fails(
        &[&join[..], &[&first, &first, &second, &third]].concat(),
        &["windows in two parts"],
    );
    fails(
        &[&join[..], &[&whole]].concat(),
        &["whole.gguf", "imatrix --part"],
    );
    // A part of other options, and what is no part for those who read importance.
    succeeds(&[
        "imatrix",
        &model,
        &calibration,
        "-o",
        &at("parts.gguf"),
        "--part",
        "2/3",
        "-c",
        "256",
        "--chunks",
        "20",
    ]);
    fails(
        &[&join[..], &[&first, &second, &third]].concat(),
        &["a part of another run", "--chunks"],
    );
    fails(&["imatrix", "--in-file", &first, "-o", &out], &["general.type"]);
    assert!(!Path::new(&out).exists());
}

/// A mixture of a million million weights, shaped like Kimi K2: headers, and a hole where its data would be.
#[cfg(target_os = "linux")]
fn trillion(path: &Path) -> u64 {
    use gguf::TensorType as T;
    let mut m = gguf::Metadata::new();
    m.set("general.architecture", "deepseek2");
    m.set("deepseek2.block_count", 61u32);
    m.set("deepseek2.attention.head_count", 64u32);
    m.set("deepseek2.attention.head_count_kv", 1u32);
    m.set("deepseek2.expert_count", 384u32);
    m.set("tokenizer.ggml.model", "gpt2");
    let tokens: Vec<String> = (0..160_000).map(|i| format!("token {i}")).collect();
    m.set("tokenizer.ggml.tokens", tokens);
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![7168, 163_840], T::BF16),
        ("output.weight".to_owned(), vec![7168, 163_840], T::BF16),
        ("output_norm.weight".to_owned(), vec![7168], T::F32),
    ];
    for layer in 0..61 {
        let mut add = |name: &str, shape: &[u64], ty| {
            tensors.push((format!("blk.{layer}.{name}.weight"), shape.to_vec(), ty));
        };
        for (name, width) in [
            ("attn_norm", 7168),
            ("attn_q_a_norm", 1536),
            ("attn_kv_a_norm", 512),
            ("ffn_norm", 7168),
        ] {
            add(name, &[width], T::F32);
        }
        add("attn_q_a", &[7168, 1536], T::BF16);
        add("attn_q_b", &[1536, 12_288], T::BF16);
        add("attn_kv_a_mqa", &[7168, 576], T::BF16);
        add("attn_k_b", &[128, 512, 64], T::BF16);
        add("attn_v_b", &[512, 128, 64], T::BF16);
        add("attn_output", &[8192, 7168], T::BF16);
        if layer == 0 {
            add("ffn_gate", &[7168, 18_432], T::BF16);
            add("ffn_up", &[7168, 18_432], T::BF16);
            add("ffn_down", &[18_432, 7168], T::BF16);
            continue;
        }
        add("ffn_gate_inp", &[7168, 384], T::F32);
        for (name, experts) in [("exps", 384), ("shexp", 1)] {
            add(&format!("ffn_gate_{name}"), &[7168, 2048, experts], T::BF16);
            add(&format!("ffn_up_{name}"), &[7168, 2048, experts], T::BF16);
            add(&format!("ffn_down_{name}"), &[2048, 7168, experts], T::BF16);
        }
    }
    let plan = gguf::FilePlan::new(m, tensors).unwrap();
    let mut file = fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, &plan.header_bytes().unwrap()).unwrap();
    file.set_len(plan.file_size()).unwrap();
    plan.tensors.iter().map(gguf::TensorInfo::elements).sum()
}

/// Runs the command to its end: its output, seconds, and the most memory it had resident, in MiB.
#[cfg(target_os = "linux")]
fn measured(args: &[&str]) -> (std::process::Output, f64, f64) {
    let started = Instant::now();
    let mut child = Command::new(quantsmith(&[]).get_program())
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.split_ascii_whitespace().next()?.parse().ok());
        most = most.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = started.elapsed().as_secs_f64();
    (
        child.wait_with_output().unwrap(),
        seconds,
        f64::from(most) / 1024.0,
    )
}

/// `cargo test --release -p quantsmith-cli --test distribute -- a_trillion --nocapture` prints the figures of
/// docs/distribute.md.
#[cfg(target_os = "linux")]
#[test]
fn a_trillion_weights_are_planned_in_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let (model, plan) = (dir.path().join("trillion.gguf"), dir.path().join("plan.json"));
    let weights = trillion(&model);
    assert!(weights > 1_000_000_000_000, "{weights}");
    let out = dir.path().join("out");
    for (cut, parts) in [("rows", "256"), ("files", "32")] {
        let mut args = vec![
            "plan",
            text(&model),
            "--allow-incomplete",
            "--headers-only",
            "--json",
            "--parts",
            parts,
        ];
        args.extend(["--cut", cut, "--out", text(&out), "-o", text(&plan)]);
        if cut == "files" {
            args.extend(["--split-max-size", "50G"]);
        }
        let (done, seconds, mib) = measured(&args);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let ratio = report["largest_over_mean"].as_f64().unwrap();
        let size = report["plan_bytes"].as_u64().unwrap();
        println!(
            "{weights} weights, --cut {cut}: {} files, {} pieces; planned in {seconds:.1} s and {mib:.0} MiB, {size} bytes; \
             {parts} parts of {:.0} s on one core, the largest {ratio:.4} of the mean",
            report["files"],
            report["work"]["pieces"],
            report["core_seconds_of_mean_part"].as_f64().unwrap(),
        );
        assert!(size < 4 << 20, "{size} bytes are no plan to read");
        assert!(mib < 1024.0, "{mib} MiB");
        assert!(
            if cut == "rows" { ratio < 1.001 } else { ratio < 1.5 },
            "{cut}: {ratio}"
        );
        assert!(seconds < 120.0, "{seconds} s");
        // What each part does before it works, but for samples of the inputs.
        let (done, seconds, mib) = measured(&["join", text(&plan)]);
        support::told(&done, &["no part of this plan has been run here"]);
        println!("worked out again and compared in {seconds:.1} s and {mib:.0} MiB");
    }
}
