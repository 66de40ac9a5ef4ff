//! What /proc tells of a process: memory, processor time, context switches.

use std::fs;
use std::time::Duration;

/// Resident bytes.
pub fn rss(pid: u32) -> u64 {
    status_field(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(0) * 1024
}

fn status_field(path: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
}

/// Whether all threads of a process are stopped.
pub fn is_stopped(pid: u32) -> bool {
    tasks(pid).all(|dir| {
        let stat = fs::read_to_string(format!("{dir}/stat")).unwrap_or_default();
        // Behind the name in parentheses, which may hold anything.
        stat.rfind(')').is_some_and(|at| stat[at + 1..].trim_start().starts_with('T'))
    })
}

/// Processor time a process has used so far, all its threads together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Time on a processor, in nanoseconds where the kernel keeps them, else in clock ticks.
    pub total: Duration,
    /// In clock ticks of 10 ms: good for a ratio over a run of seconds.
    pub user: Duration,
    pub sys: Duration,
}

impl Cpu {
    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            total: self.total.saturating_sub(earlier.total),
            user: self.user.saturating_sub(earlier.user),
            sys: self.sys.saturating_sub(earlier.sys),
        }
    }
}

pub fn cpu(pid: u32) -> Cpu {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the name in parentheses and may hold anything; the numbers start behind it.
    let numbers: Vec<u64> = match stat.rfind(')') {
        Some(at) => stat[at + 1..].split_whitespace().map(|n| n.parse().unwrap_or(0)).collect(),
        None => Vec::new(),
    };
    // SAFETY: sysconf has no preconditions.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    let ticks = |at: usize| Duration::from_nanos(numbers.get(at).copied().unwrap_or(0) * 1_000_000_000 / per_second);
    let (user, sys) = (ticks(11), ticks(12));
    let fine = tasks(pid).filter_map(|dir| on_cpu(&dir)).sum::<Duration>();
    Cpu { total: if fine.is_zero() { user + sys } else { fine }, user, sys }
}

/// Processor time of the threads whose names begin so.
pub fn cpu_of_threads(pid: u32, named: &str) -> Duration {
    let is_named = |dir: &String| fs::read_to_string(format!("{dir}/comm")).is_ok_and(|name| name.starts_with(named));
    tasks(pid).filter(is_named).filter_map(|dir| on_cpu(&dir)).sum()
}

fn on_cpu(task: &str) -> Option<Duration> {
    let text = fs::read_to_string(format!("{task}/schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Times the process went to sleep by itself.
pub fn voluntary_switches(pid: u32) -> u64 {
    tasks(pid).filter_map(|dir| status_field(&format!("{dir}/status"), "voluntary_ctxt_switches:")).sum()
}

fn tasks(pid: u32) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).ok();
    entries.into_iter().flatten().flatten().map(|entry| entry.path().to_string_lossy().into_owned())
}

pub fn alive(pid: u32) -> bool {
    // A zombie has ended; it only waits for its parent.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rfind(')').is_some_and(|at| !stat[at + 1..].trim_start().starts_with('Z')))
}
