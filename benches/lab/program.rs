//! The tollgates that are measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Result, Trouble, While as _};

/// A tollgate and what the tables call it.
pub type Named = (String, PathBuf);

/// NAME=PROGRAM of a command line.
///
/// # Errors
/// In words for whoever wrote it.
pub fn named(text: &str) -> std::result::Result<Named, String> {
    let (name, program) = text.split_once('=').ok_or("NAME=PROGRAM is expected")?;
    let program = PathBuf::from(program);
    match program.is_file() {
        true => Ok((name.to_owned(), program)),
        false => Err(format!("there is no program {}", program.display())),
    }
}

/// Those that were named, or the one of this package as users build it.
pub fn all(named: &[Named]) -> Result<Vec<Named>> {
    match named {
        [] => Ok(vec![("tollgate".to_owned(), build()?)]),
        named => Ok(named.to_vec()),
    }
}

/// Not the one that was built beside this program: the tests' dependencies turn features on that users do not have.
fn build() -> Result<PathBuf> {
    eprintln!("building target/release/tollgate as users do (cargo build --release)");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let arguments = ["build", "--release", "--locked", "--bin", "tollgate"];
    let status = Command::new(cargo).args(arguments).current_dir(folder).status();
    if !status.during("cargo build")?.success() {
        return Err(Trouble::new("cargo build --release failed"));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(folder.join(target).join("release/tollgate"))
}
