#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    quantsmith::fuzzing::run("whole", data);
});
