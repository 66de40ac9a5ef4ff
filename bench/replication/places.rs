//! Which processors threads may use, and how much of them.

use crate::Error;
use std::fs;
use std::io;
use std::ops::Range;

/// Where the threads of a run may be.
pub struct Places {
    pub primary: Range<usize>,
    pub replica: Range<usize>,
    /// The load generator goes wherever there is time left. On one processor with the replica it would get half of that however little the
    /// replica needs, and the figures would say what the scheduler does.
    pub generator: Range<usize>,
}

impl Places {
    pub fn here() -> Places {
        let all = 0..processors();
        let replica = if all.len() == 1 { 0..1 } else { 1..all.len() };
        Places { primary: 0..1, replica, generator: all }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// The threads that a process has, with their names.
fn threads(pid: u32) -> Result<Vec<(libc::pid_t, String)>, Error> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let name = fs::read_to_string(task.path().join("comm"))?;
        threads.push((task.file_name().to_string_lossy().parse()?, name));
    }
    Ok(threads)
}

/// Limits all threads that a process has now, and those they start, to some processors.
pub fn pin(pid: u32, processors: &Range<usize>) -> Result<(), Error> {
    threads(pid)?.into_iter().try_for_each(|(thread, _)| pin_thread(thread, processors))
}

fn pin_thread(thread: libc::pid_t, processors: &Range<usize>) -> Result<(), Error> {
    // SAFETY: the set lives on the stack for the call.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        processors.clone().for_each(|processor| libc::CPU_SET(processor, &mut set));
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &set)
    };
    if done != 0 {
        return Err(format!("pinning thread {thread}: {}", io::Error::last_os_error()).into());
    }
    Ok(())
}

/// Gives the threads of that name a share of one processor, wherever it is, no less and no more: as much slower a processor of their own.
/// What else runs has the rest, as it would have with more processors.
pub fn hold(pid: u32, named: &str, percent: u64) -> Result<(), Error> {
    const PERIOD_NS: u64 = 10_000_000;
    for (thread, _) in threads(pid)?.into_iter().filter(|(_, name)| name.starts_with(named)) {
        // The kernel guarantees time to threads only that may be anywhere.
        pin_thread(thread, &(0..processors()))?;
        // SAFETY: plain numbers, and all zeros are valid.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        attributes.size = size_of::<libc::sched_attr>() as u32;
        attributes.sched_policy = libc::SCHED_DEADLINE as u32;
        // Or the child that writes a redis-server's snapshot could not be made.
        attributes.sched_flags = libc::SCHED_FLAG_RESET_ON_FORK as u64;
        attributes.sched_runtime = PERIOD_NS * percent / 100;
        attributes.sched_deadline = PERIOD_NS;
        attributes.sched_period = PERIOD_NS;
        // SAFETY: the attributes live on the stack for the call.
        let done = unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &attributes, 0) };
        if done != 0 {
            let error = io::Error::last_os_error();
            return Err(format!("a share for thread {thread}: {error} (--primary-share needs CAP_SYS_NICE)").into());
        }
    }
    Ok(())
}
