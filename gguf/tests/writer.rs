//! Files that the writer leaves behind, on success and on failure.

use crate::common;

use std::path::Path;

use common::{folder, pattern};
use quantsmith_gguf::{
    Array, Endian, Error, FilePlan, GgufFile, GgufModel, Metadata, TensorType, Value, Writer,
};

fn plan(tensors: &[(&str, &[u64], TensorType)]) -> Result<FilePlan, Error> {
    FilePlan::new(
        Metadata::new(),
        tensors.iter().map(|(n, s, t)| ((*n).to_string(), s.to_vec(), *t)),
    )
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn many_threads_write_one_file() {
    let folder = folder();
    let path = folder.path().join("m.gguf");
    let tensors: Vec<_> = (0..8)
        .map(|i| (format!("t{i}"), vec![256, 100 + i], TensorType::Q4_K))
        .collect();
    let plan = FilePlan::new(Metadata::new(), tensors).unwrap();
    let writer = Writer::create(&path, &plan).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (writer, plan) = (&writer, &plan);
            scope.spawn(move || {
                for (i, t) in plan.tensors.iter().enumerate() {
                    let data = pattern(i, t.size_bytes());
                    for (n, piece) in data.chunks(1000).enumerate().rev() {
                        if n as u64 % 4 == thread {
                            writer.write_at(i, n as u64 * 1000, piece).unwrap();
                        }
                    }
                }
            });
        }
    });
    assert_eq!(
        names(folder.path()).len(),
        1,
        "only the temporary file before it is finished"
    );
    assert!(!path.exists());
    writer.finish().unwrap();
    assert_eq!(names(folder.path()), ["m.gguf"]);

    let model = GgufModel::open(&path).unwrap();
    assert_eq!(path.metadata().unwrap().len(), plan.file_size());
    for t in model.tensors() {
        let data = model.bytes(t.index, 0..t.info.size_bytes()).unwrap();
        assert_eq!(*data, pattern(t.index, t.info.size_bytes()));
    }
    assert_eq!(model.find("t3"), Some(3));
    assert_eq!(model.find("t8"), None);
}

#[test]
fn an_incomplete_file_is_not_published() {
    let folder = folder();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, "before").unwrap();
    let plan = plan(&[("a", &[8], TensorType::F32), ("b", &[8], TensorType::F32)]).unwrap();
    let writer = Writer::create(&path, &plan).unwrap();
    writer.write_at(0, 0, &[1; 32]).unwrap();
    writer.write_at(1, 0, &[1; 15]).unwrap();
    writer.write_at(1, 16, &[1; 16]).unwrap();
    writer.write_at(1, 20, &[1; 8]).unwrap();
    let message = writer.finish().unwrap_err().to_string();
    assert!(
        message.contains("tensor 'b': expected 32 bytes to be written, found 31"),
        "{message}"
    );
    assert_eq!(names(folder.path()), ["m.gguf"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let folder = folder();
    drop(Writer::create(&folder.path().join("m.gguf"), &plan(&[]).unwrap()).unwrap());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn writes_outside_of_a_tensor_are_refused() {
    let folder = folder();
    let plan = plan(&[("a", &[8], TensorType::F32), ("b", &[8], TensorType::F32)]).unwrap();
    let writer = Writer::create(&folder.path().join("m.gguf"), &plan).unwrap();
    assert!(matches!(
        writer.write_at(0, 0, &[0; 33]),
        Err(Error::OutOfRange { .. })
    ));
    assert!(matches!(
        writer.write_at(0, 32, &[0; 1]),
        Err(Error::OutOfRange { .. })
    ));
    assert!(matches!(
        writer.write_at(0, u64::MAX, &[0; 1]),
        Err(Error::OutOfRange { .. })
    ));
}

#[test]
fn unwritable_plans_say_why() {
    let refused = |tensors: &[(&str, &[u64], TensorType)], part: &str| {
        let message = plan(tensors).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    refused(&[(&"n".repeat(64), &[8], TensorType::F32)], "64 bytes");
    refused(
        &[("a", &[8], TensorType::F32), ("a", &[8], TensorType::F32)],
        "a second time",
    );
    refused(&[("a", &[0], TensorType::F32)], "at least 1");
    refused(&[("a", &[100], TensorType::Q4_K)], "whole blocks of 256");
    refused(&[("a", &[1 << 61], TensorType::F32)], "bytes");
    for n in 0..4 {
        let a = 1u64 << 60;
        let many: Vec<_> = ["a", "b", "c", "d"].into_iter().take(n).map(|s| (s, a)).collect();
        let shapes: Vec<_> = many.iter().map(|(s, a)| (*s, [*a])).collect();
        let list: Vec<_> = shapes
            .iter()
            .map(|(s, a)| (*s, a.as_slice(), TensorType::F16))
            .collect();
        assert_eq!(plan(&list).is_ok(), n < 4);
    }

    let mut odd = Metadata::new();
    odd.set("general.alignment", 33u32);
    assert!(
        FilePlan::new(odd, [])
            .unwrap_err()
            .to_string()
            .contains("power of two")
    );

    let mut deep = Array::U8(vec![1]);
    for _ in 0..8 {
        deep = Array::Array(vec![deep]);
    }
    let mut metadata = Metadata::new();
    metadata.set_in_place("deep", 1u8);
    metadata.set_in_place("deep", Value::Array(deep));
    let plan = FilePlan::new(metadata, []).unwrap();
    assert!(plan.header_bytes().unwrap_err().to_string().contains("nested"));

    let mut empty = Metadata::new();
    empty.set("", 1u8);
    assert!(FilePlan::new(empty, []).unwrap().header_bytes().is_err());

    let mut moved = FilePlan::new(Metadata::new(), []).unwrap();
    moved.metadata.set("general.alignment", 64u32);
    assert!(
        moved
            .header_bytes()
            .unwrap_err()
            .to_string()
            .contains("planned with")
    );
}

#[test]
fn targets_that_cannot_be_written() {
    let folder = folder();
    let plan = plan(&[]).unwrap();
    let fails = |path: &Path| Writer::create(path, &plan).unwrap_err().to_string();
    assert!(fails(folder.path()).contains("not a regular file"));
    assert!(fails(&folder.path().join("no/such/folder.gguf")).contains("no/such/folder.gguf"));
    #[cfg(unix)]
    assert!(fails(Path::new("/dev/null")).contains("not a regular file"));
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_and_new_files_have_the_usual_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let (real, link) = (folder.path().join("real.gguf"), folder.path().join("link.gguf"));
    std::fs::write(&real, "before").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    Writer::create(&link, &plan(&[]).unwrap())
        .unwrap()
        .finish()
        .unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(GgufFile::open(&real).is_ok());
    let usual = folder.path().join("usual");
    std::fs::write(&usual, "").unwrap();
    let mode = |p: &Path| p.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&real), mode(&usual));
}

/// Runs out of space through a limit on this process's files, in a process of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_full_and_leaves_nothing() {
    const MARK: &str = "QUANTSMITH_TEST_FULL_DISK";
    if let Some(folder) = std::env::var_os(MARK) {
        let path = Path::new(&folder).join("m.gguf");
        let plan = plan(&[("a", &[1 << 20], TensorType::F32)]).unwrap();
        let message = Writer::create(&path, &plan).unwrap_err().to_string();
        assert!(
            message.contains("no space left") && message.contains("4194368"),
            "{message}"
        );
        return;
    }
    let folder = folder();
    // SIGXFSZ is ignored so that the system answers with an error, as it does for a full disk.
    let done = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg("a_full_disk_is_said_to_be_full_and_leaves_nothing")
        .env(MARK, folder.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(names(folder.path()).is_empty());
}

#[test]
fn iq2_xxs_has_no_big_endian_form() {
    let folder = folder();
    let mut plan = plan(&[("a", &[256], TensorType::IQ2_XXS)]).unwrap();
    plan.endian = Endian::Big;
    let e = Writer::create(&folder.path().join("m.gguf"), &plan).unwrap_err();
    assert!(matches!(e, Error::NoBigEndianForm { .. }));
}

#[test]
fn a_second_writer_of_the_same_file_is_refused() {
    let folder = folder();
    let path = folder.path().join("m.gguf");
    let plan = plan(&[("a", &[8], TensorType::F32)]).unwrap();
    let first = Writer::create(&path, &plan).unwrap();
    let message = Writer::create(&path, &plan).unwrap_err().to_string();
    assert!(
        message.contains("m.gguf") && message.contains("another process is writing"),
        "{message}"
    );
    first.write_at(0, 0, &[1; 32]).unwrap();
    first.finish().unwrap();
    assert_eq!(names(folder.path()), ["m.gguf"]);
}

#[test]
fn what_a_killed_run_left_is_reused() {
    let folder = folder();
    let path = folder.path().join("m.gguf");
    std::fs::write(folder.path().join(".m.gguf.partial"), vec![7; 100_000]).unwrap();
    let plan = plan(&[("a", &[7], TensorType::F32)]).unwrap();
    let writer = Writer::create(&path, &plan).unwrap();
    writer.write_at(0, 0, &[1; 28]).unwrap();
    writer.finish().unwrap();
    assert_eq!(names(folder.path()), ["m.gguf"]);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, plan.file_size());
    assert_eq!(bytes[bytes.len() - 4..], [0; 4], "padding holds what was there");
}

#[test]
fn a_resumable_writer_keeps_its_bytes() {
    let folder = folder();
    let path = folder.path().join("m.gguf");
    let plan = plan(&[("a", &[8], TensorType::F32)]).unwrap();
    let (writer, found) = Writer::create_resumable(&path, &plan).unwrap();
    assert!(!found);
    writer.write_at(0, 0, &[3; 16]).unwrap();
    drop(writer);
    assert_eq!(names(folder.path()), [".m.gguf.partial"]);
    let (writer, found) = Writer::create_resumable(&path, &plan).unwrap();
    assert!(found);
    let mut back = [0; 16];
    writer.read_back(0, 0, &mut back).unwrap();
    assert_eq!(back, [3; 16]);
    assert!(!writer.has(0, 0..16));
    writer.accept(0, 0..16);
    assert!(writer.has(0, 0..16) && !writer.has(0, 0..17));
    writer.write_at(0, 16, &[4; 16]).unwrap();
    writer.finish().unwrap();
    assert_eq!(names(folder.path()), ["m.gguf"]);
}

#[cfg(unix)]
#[test]
fn read_only_targets_and_planted_links_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("m.gguf");
    let plan = plan(&[]).unwrap();
    std::fs::write(&path, "precious").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    let message = Writer::create(&path, &plan).unwrap_err().to_string();
    assert!(message.contains("read-only"), "{message}");
    std::fs::remove_file(&path).unwrap();

    let victim = folder.path().join("victim");
    let partial = folder.path().join(".m.gguf.partial");
    std::fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &partial).unwrap();
    assert!(
        Writer::create(&path, &plan)
            .unwrap_err()
            .to_string()
            .contains("not a regular file")
    );
    std::fs::remove_file(&partial).unwrap();
    std::fs::hard_link(&victim, &partial).unwrap();
    assert!(
        Writer::create(&path, &plan)
            .unwrap_err()
            .to_string()
            .contains("second name")
    );
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
}
