//! Declarations that the macro and the derives refuse, with the very messages.
//!
//! Each is a crate that depends on farptr, which is built once more for them: minutes of a machine
//! with two cores, so that this is run by a command of its own (CONTRIBUTING).

#[test]
#[ignore = "takes minutes: cargo test -p farptr-macros --test errors -- --ignored"]
fn mistakes_are_compile_errors_that_name_them() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
