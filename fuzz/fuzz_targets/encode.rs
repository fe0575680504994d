#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    quantsmith_cli::fuzzing::run("encode", data);
});
