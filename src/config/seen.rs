//! The files that a configuration was read from, as they were then: whether one has changed since can be asked later.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

/// A file as it was at some moment. Its content is told from another one by a digest; nothing of it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SeenFile {
    path: PathBuf,
    /// No more than this is read of it, and one byte.
    most: u64,
    /// None: it could not be read.
    digest: Option<[u8; 32]>,
    /// Whether it can be looked at again: a pipe would be emptied, or waited for.
    again: bool,
}

impl SeenFile {
    /// The file at `path` as it is now, and its content up to one byte more than `most`.
    pub(super) fn read(path: &Path, most: u64) -> (Self, io::Result<Zeroizing<Vec<u8>>>) {
        let mut bytes = Zeroizing::new(Vec::new());
        // opened by its name: a link may lead to another file each time
        let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
        let known = digest(&SHA256, &bytes);
        let digest = if read.is_ok() { known.as_ref().try_into().ok() } else { None };
        let again = read.is_err() || path.is_file();
        (Self { path: path.to_owned(), most, digest, again }, read.map(|_| bytes))
    }

    /// The same file as it is now; as it was where it cannot be looked at again.
    #[must_use]
    pub fn now(&self) -> Self {
        match std::fs::metadata(&self.path) {
            _ if !self.again => self.clone(),
            Ok(file) if file.is_file() => Self::read(&self.path, self.most).0,
            Ok(_) | Err(_) => Self { digest: None, ..self.clone() },
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::SeenFile;

    #[test]
    fn a_file_has_changed_when_its_content_has() {
        let path = std::env::temp_dir().join(format!("tollgate-seen-{}", std::process::id()));
        std::fs::write(&path, "one").unwrap();
        let seen = SeenFile::read(&path, 100).0;
        std::fs::write(&path, "one").unwrap();
        assert_eq!(seen.now(), seen);
        std::fs::write(&path, "two").unwrap();
        let then = seen.now();
        assert_ne!(then, seen);
        std::fs::remove_file(&path).unwrap();
        assert_ne!(seen.now(), seen);
        assert_ne!(then.now(), then);
        assert_eq!(seen.now(), then.now());
    }

    #[test]
    fn a_pipe_is_read_once_and_not_looked_at_again() {
        let path = std::env::temp_dir().join(format!("tollgate-pipe-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let writer = std::thread::spawn({
            let path = path.clone();
            move || std::fs::write(path, "once").unwrap()
        });
        let (seen, content) = SeenFile::read(&path, 100);
        writer.join().unwrap();
        assert_eq!(content.unwrap().as_slice(), b"once");
        assert_eq!(seen.now(), seen); // would wait for a writer
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn debug_output_shows_nothing_of_the_content() {
        let path = std::env::temp_dir().join(format!("tollgate-seen-debug-{}", std::process::id()));
        std::fs::write(&path, "hunter2").unwrap();
        let (seen, content) = SeenFile::read(&path, 100);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(content.unwrap().as_slice(), b"hunter2");
        assert!(!format!("{seen:?}").contains("hunter2"));
    }
}
