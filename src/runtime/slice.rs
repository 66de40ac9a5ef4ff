//! How long a thread may keep a processor before others that want it get their turn.
//!
//! A thread that serves clients asks for short slices: in return it waits less for its own turn wherever it shares a processor (EEVDF, Linux 6.12;
//! `sched_setattr(2)`). That needs no privilege and changes no thread's share. Older kernels ignore it.

use std::io;
use std::mem::size_of;

/// While clients wait: a tenth of what the kernel gives by default, and the work of some hundred commands.
const SERVING_NANOS: u64 = 300_000;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Answers clients.
    Serving,
    /// Works through something for which nobody waits by the millisecond: the kernel's own slices.
    Plodding,
}

/// The kernel's `struct sched_attr`, as of its first version.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of a normal thread: its slice; 0 for the default.
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Tells the scheduler of this thread's work. Threads of other policies than the normal one stay as they are.
pub fn set(work: Work) -> io::Result<()> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes at most `size` bytes of the structure, which any bytes are valid for.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &mut attributes, size_of::<Attributes>(), 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    if attributes.policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.size = size_of::<Attributes>() as u32;
    attributes.runtime_ns = if work == Work::Serving { SERVING_NANOS } else { 0 };
    // SAFETY: the kernel only reads the structure.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &attributes, 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice_ns() -> u64 {
        let mut attributes = Attributes::default();
        // SAFETY: as above.
        let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &mut attributes, size_of::<Attributes>(), 0) };
        assert_eq!(got, 0);
        attributes.runtime_ns
    }

    #[test]
    fn the_kernel_takes_it_or_ignores_it() {
        let before = slice_ns();
        set(Work::Serving).expect("a normal thread");
        // Kernels before 6.12 have no slices of one's own, and say 0.
        assert!(slice_ns() == SERVING_NANOS || before == 0 && slice_ns() == 0);
        set(Work::Plodding).expect("a normal thread");
        assert_eq!(slice_ns(), before);
    }
}
