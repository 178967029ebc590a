//! Declarations that the macro and the derives refuse, with the very messages.
//!
//! Each is a crate that depends on farptr. trybuild checks them in a target folder of its own
//! (`target/tests/trybuild`), so that every dependency is built once more there, optimised as the
//! workspace says: minutes of a machine with two cores the first time, seconds from then on. So
//! this is run by a command of its own (CONTRIBUTING).

#[test]
#[ignore = "takes minutes the first time: cargo test -p farptr-macros --test errors -- --ignored"]
fn mistakes_are_compile_errors_that_name_them() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
