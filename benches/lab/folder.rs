//! A folder of one run, gone when the run is over.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Result, While as _};

static MADE: AtomicU32 = AtomicU32::new(0);

pub struct Folder(PathBuf);

impl Folder {
    /// Readable by all: some peers drop to another user, and the keys in it are good for this run alone.
    pub fn new() -> Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("tollgate-bench-{}-{number}", std::process::id()));
        fs::create_dir(&path).during(path.display())?;
        let made = Self(path);
        fs::set_permissions(made.path(), Permissions::from_mode(0o755)).during("a folder")?;
        Ok(made)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let file = self.file(name);
        fs::write(&file, content).during(file.display())?;
        Ok(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
