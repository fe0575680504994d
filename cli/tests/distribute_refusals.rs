//! Parts, plans and inputs that are missing or are not what they have to be: named, and nothing is joined.

use crate::support;

use std::fs;

use support::parts::{Case, journal};
use support::{fails, quantsmith, succeeds, text};

#[test]
fn missing_and_damaged_parts_are_named_and_mended() {
    let case = Case::new(4, &[]);
    let join = ["join", text(&case.plan)];
    fails(&join, &["expected parts of this plan, found none"]);
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
            "expected the bytes that were noted",
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
    fails(&join, &["found some not written", "2 of 4 parts"]);
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
        &["part-1-of-2", "expected a part of plan"],
    );
    fails(
        &["join", text(&other)],
        &["part-1-of-2", "expected a part of plan"],
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
    let version = [
        "part-2-of-2",
        "expected a part of version",
        "found one of 0.0.1 and",
    ];
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
        &[
            "part 2/2: expected ranges of its own in its journal",
            "overlaps other parts",
        ],
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
        &[
            "expected the plan's model, found another: tensor 0: expected",
            "512",
        ],
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
    fails(&run, &["tiny.gguf", "of the plan: digest of samples: expected"]);
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

#[test]
fn hostile_plans_are_refused() {
    let case = Case::new(1, &[]);
    let plan = fs::read_to_string(&case.plan).unwrap();
    let path = case.at("bad.json");
    for (text_of, told) in [
        (String::new(), "expected a plan"),
        ("{}".to_owned(), "key 'format'"),
        (plan[..plan.len() / 2].to_owned(), "expected a plan"),
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
            "expected the plan's model",
        ),
    ] {
        fs::write(&path, text_of).unwrap();
        for command in [&["run", text(&path), "--part", "1/1"][..], &["join", text(&path)]] {
            fails(command, &[told]);
        }
    }
}
