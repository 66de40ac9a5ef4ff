//! Files for snapshots whose length has to be said before they are sent.
//!
//! Each file has a thread, so that a slow disk holds up nobody else. Files have no name once they are open: nothing is left behind, however the
//! process ends.
//!
//! Invariants
//! - the jobs of one file are done in the order in which they were given
//! - a thread ends when its file is let go of

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use bytes::Bytes;

use super::LinkId;
use crate::runtime::clock;

enum Job {
    Write(Bytes),
    Read { link: LinkId, offset: u64, len: usize },
}

/// What a file's thread has done.
pub enum Done {
    Written { spool: u64, result: Result<usize, String> },
    Read { spool: u64, link: LinkId, result: Result<Bytes, String> },
}

/// The files, by the number of their snapshot.
pub struct Spools {
    files: HashMap<u64, Sender<Job>>,
    sender: Sender<Done>,
    receiver: Receiver<Done>,
    /// Readable when something is done.
    signal: Arc<OwnedFd>,
}

impl Spools {
    pub fn new() -> io::Result<Spools> {
        let (sender, receiver) = mpsc::channel();
        // SAFETY: the descriptor is checked and then owned.
        let signal = unsafe {
            match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
                -1 => return Err(io::Error::last_os_error()),
                fd => Arc::new(OwnedFd::from_raw_fd(fd)),
            }
        };
        Ok(Spools { files: HashMap::new(), sender, receiver, signal })
    }

    /// To be watched.
    pub fn fd(&self) -> RawFd {
        self.signal.as_raw_fd()
    }

    /// Makes a file in the working directory, which is `dir`. What goes wrong shows when it is written to.
    pub fn open(&mut self, spool: u64) {
        let (jobs, receiver) = mpsc::channel();
        let (done, signal) = (self.sender.clone(), self.signal.clone());
        let started = thread::Builder::new().name(format!("spool-{spool}")).spawn(move || {
            let file = create(spool);
            for job in receiver {
                let answer = run(spool, &file, job);
                if done.send(answer).is_err() {
                    return; // the executor is gone
                }
                raise(&signal);
            }
        });
        match started {
            Ok(_) => {
                self.files.insert(spool, jobs);
            }
            Err(error) => self.fail(spool, &error.to_string()),
        }
    }

    pub fn write(&mut self, spool: u64, bytes: Bytes) {
        self.give(spool, Job::Write(bytes));
    }

    pub fn read(&mut self, spool: u64, link: LinkId, offset: u64, len: usize) {
        self.give(spool, Job::Read { link, offset, len });
    }

    fn give(&mut self, spool: u64, job: Job) {
        let Some(jobs) = self.files.get(&spool) else { return };
        if jobs.send(job).is_err() {
            self.fail(spool, "its thread has ended");
        }
    }

    fn fail(&mut self, spool: u64, error: &str) {
        // The receiver is a field: it is there.
        let _ = self.sender.send(Done::Written { spool, result: Err(error.to_owned()) });
        raise(&self.signal);
    }

    /// Lets go of a file.
    pub fn close(&mut self, spool: u64) {
        self.files.remove(&spool);
    }

    /// What is done since the last call.
    pub fn done(&mut self) -> Vec<Done> {
        let mut count = 0u64;
        // SAFETY: reads at most eight bytes into a live local. That there is nothing to read is no harm.
        unsafe { libc::read(self.signal.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
        self.receiver.try_iter().collect()
    }
}

fn raise(signal: &OwnedFd) {
    let one = 1u64;
    // SAFETY: writes eight bytes of a live local. It fails only when it is raised already.
    unsafe { libc::write(signal.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
}

fn create(spool: u64) -> io::Result<File> {
    let name = format!("temp-{}.{}.{spool}.rdb", clock::unix_ms() / 1000, std::process::id());
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&name)?;
    fs::remove_file(&name)?;
    Ok(file)
}

fn run(spool: u64, file: &io::Result<File>, job: Job) -> Done {
    match job {
        Job::Write(bytes) => {
            let result = with(file, |mut file| file.write_all(&bytes)).map(|()| bytes.len());
            Done::Written { spool, result }
        }
        Job::Read { link, offset, len } => {
            let mut part = vec![0; len];
            let result = with(file, |file| file.read_exact_at(&mut part, offset)).map(|()| part.into());
            Done::Read { spool, link, result }
        }
    }
}

fn with<R>(file: &io::Result<File>, work: impl FnOnce(&File) -> io::Result<R>) -> Result<R, String> {
    match file {
        Ok(file) => work(file).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
