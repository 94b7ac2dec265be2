//! Replays the corpora of the fuzz targets, so that what they have found once stays found.

#[path = "../../../fuzz/checks/wire.rs"]
mod checks;

use std::fs;
use std::path::Path;

#[test]
fn every_input_of_the_corpora_holds() {
    type Check = fn(&[u8]);
    let targets: [(&str, Check); 4] = [
        ("frames", checks::frames),
        ("tables", checks::tables),
        ("methods", checks::methods),
        ("contents", checks::contents),
    ];
    for (target, check) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let mut replayed = 0;
        for entry in fs::read_dir(&folder).expect("a corpus for each target") {
            let path = entry.expect("a readable corpus").path();
            println!("{}", path.display());
            check(&fs::read(&path).expect("a readable input"));
            replayed += 1;
        }
        assert!(replayed > 0, "the corpus of {target} is empty");
    }
}
