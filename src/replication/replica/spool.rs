//! The file that a snapshot is written to before it replaces the data: `temp-<unix time>.<pid>.rdb` in the working directory, which is `dir`.
//!
//! Invariants
//! - the file is there as long as the value is, and removed with it
//! - it is written first, and read from its beginning then

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tracing::warn;

/// Names that are tried when one is taken.
const TRIES: u64 = 5;

pub struct Spool {
    file: File,
    path: PathBuf,
}

impl Spool {
    /// Makes a file that was not there.
    pub fn create(directory: &Path, unix_s: u64) -> io::Result<Spool> {
        let mut last = io::Error::from(ErrorKind::AlreadyExists);
        for later in 0..TRIES {
            let path = directory.join(format!("temp-{}.{}.rdb", unix_s + later, std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Spool { file, path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// All is written: reading begins.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    /// Fills `buffer` with the next bytes; how many there were, 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            warn!("The file {} of a snapshot cannot be removed: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_gives_back_what_it_took_and_is_gone_then() {
        let directory = std::env::temp_dir().join(format!("basalt-spool-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut spools: Vec<Spool> = (0..TRIES).map(|_| Spool::create(&directory, 7).expect("a free name")).collect();
        assert_eq!(Spool::create(&directory, 7).err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
        let spool = &mut spools[0];
        spool.write(b"hello ").and_then(|()| spool.write(b"world")).and_then(|()| spool.rewind()).expect("a disk");
        let mut buffer = [0; 8];
        assert_eq!(spool.read(&mut buffer).expect("readable"), 8);
        assert_eq!(&buffer, b"hello wo");
        assert_eq!((spool.read(&mut buffer[..4]).expect("readable"), &buffer[..3]), (3, &b"rld"[..]));
        assert_eq!(spool.read(&mut buffer).expect("readable"), 0);
        drop(spools);
        assert_eq!(std::fs::read_dir(&directory).expect("still there").count(), 0);
        std::fs::remove_dir(&directory).expect("empty");
    }
}
