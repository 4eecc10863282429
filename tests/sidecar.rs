//! `examples/sidecar`: the image builds, and what it holds runs under compose.yaml's restrictions.
//!
//! There is no container engine where the tests run. `tests/sidecar.sh` stands in for one, and says what it leaves out.

mod markdown;

use std::process::Command;

#[test]
fn the_sidecar_is_static_and_guards_its_api_without_root_on_a_read_only_image() {
    let root = env!("CARGO_MANIFEST_DIR");
    for arguments in [["tests/install.sh", "example"], ["tests/sidecar.sh", "build"]] {
        let ended = Command::new("bash").args(arguments).current_dir(root).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{arguments:?}: {said}");
    }
    markdown::hold("examples/sidecar/README.md");
}
