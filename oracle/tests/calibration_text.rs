//! The scripts of calibration texts: their own tests, which need no packages and no server.

use std::path::Path;
use std::process::Command;

#[test]
fn the_scripts_of_calibration_texts_hold_what_they_say() {
    let Some(python) = oracle::python() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/calibration/test.py");
    let run = Command::new(python.executable())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{messages}");
    assert!(messages.contains("Ran 16 tests"), "{messages}");
}
