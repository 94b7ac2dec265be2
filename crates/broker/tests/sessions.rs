//! Random operations on several connections, and the corpus of the fuzz target that does the same.

#[path = "../../../fuzz/checks/sessions/mod.rs"]
mod checks;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn every_input_of_the_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/sessions");
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("a readable corpus").path();
        println!("{}", path.display());
        checks::sessions(&fs::read(&path).expect("a readable input"));
        replayed += 1;
    }
    assert!(replayed > 0, "the corpus is empty");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_operations(data in vec(any::<u8>(), 0..600)) {
        checks::sessions(&data);
    }
}
