//! Plans that are run in parts: the joined bytes are those of one machine.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};

use support::parts::{Case, PRESETS, copy};
use support::{fails, has, imatrix, names, plain, succeeds, text, tiny};

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
    // The estimate of wall time is printed, for parts at once.
    let estimate = ["-o", text(&again), "--parts", "3", "--cores", "2"];
    let said = succeeds(&[&args[..], &estimate].concat());
    has(
        &said,
        &["s on one core", "all at once, with 2 cores for each, about"],
    );
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
    // Under another name it is another model: the converter writes the name into the files.
    let other = case.at("Other");
    fs::rename(&case.model, &other).unwrap();
    fails(
        &["run", text(&case.plan), "--part", "1/2", "--model", text(&other)],
        &[
            "expected the name \"Demo\"",
            "found \"Other\"",
            "expected the plan's model",
        ],
    );
    fs::rename(&other, &case.model).unwrap();
    // Its small files are inputs as well.
    fs::remove_dir_all(case.out()).unwrap();
    let config = case.model.join("config.json");
    let other = fs::read_to_string(&config).unwrap() + "\n";
    fs::write(&config, other).unwrap();
    let run = ["run", text(&case.plan), "--part", "1/2"];
    fails(&run, &["config.json", "of the plan: bytes: expected"]);
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

#[test]
fn schedulers_variables_name_the_part() {
    let case = Case::new(2, &[]);
    let run = |variables: &[(&str, &str)]| {
        let mut command = support::quantsmith(&["run", text(&case.plan)]);
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
