//! Declarations that the macro refuses, with the very messages.

#[test]
fn mistakes_are_compile_errors_that_name_them() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
