//! The script of the broad calibration text: its own tests, which need no packages.

use std::path::Path;
use std::process::Command;

#[test]
fn the_script_of_the_calibration_text_holds_what_it_says() {
    let Some(python) = oracle::python() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/calibration/test.py");
    let run = Command::new(python.executable())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{messages}");
    assert!(messages.contains("Ran 13 tests"), "{messages}");
}
