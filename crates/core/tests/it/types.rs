//! What must not compile, with the compiler's own words kept beside it.

#[test]
fn a_double_spend_a_skipped_step_and_a_forged_proof_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
