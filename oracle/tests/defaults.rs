//! Defaults of keys that a `config.json` leaves out, against those of transformers.

const CHECKED_IN: &str = include_str!("../../convert/src/arch/transformers_defaults.json");

/// The file is what its script makes, in the version that the stock converter pins.
#[test]
fn defaults_are_those_of_transformers() {
    let Some(python) = oracle::configurations_python() else {
        return;
    };
    let made = python.run("config_defaults.py", [""; 0]).unwrap();
    for (made, kept) in made.lines().zip(CHECKED_IN.lines()) {
        assert_eq!(made, kept);
    }
    assert_eq!(made.lines().count(), CHECKED_IN.lines().count());
    assert!(CHECKED_IN.contains("\"transformers\": \"4.57.6\""));
}
