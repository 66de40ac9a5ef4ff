//! Memory figures of the node, and the MEMORY replies made of them.
//!
//! What is measured is a field of [`MemoryInfo`]; what follows from the measurements (dataset, ratios, percentages) is computed
//! here, so INFO and MEMORY STATS cannot disagree.

use super::info::bytes_to_human;
use crate::resp::Writer;

/// Below this much memory in use, ratios say nothing and MEMORY DOCTOR gives no verdict.
const DOCTOR_MIN_BYTES: u64 = 5 << 20;
/// A ratio is reported only when it stands for at least this many bytes.
const DOCTOR_MIN_WASTE_BYTES: i64 = 10 << 20;
const DOCTOR_CLIENT_BYTES: u64 = 200 << 10;
const DOCTOR_REPLICA_BYTES: u64 = 10 << 20;

/// Memory of one database's tables over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DbOverhead {
    pub db: usize,
    /// Directories, segments and entry headers.
    pub table_bytes: u64,
    /// What only keys with an expiry need.
    pub expires_bytes: u64,
}

/// The measured figures, summed over the cores. Bytes, unless named otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryInfo {
    pub used: u64,
    /// Resident set of the process.
    pub rss: u64,
    pub peak: u64,
    /// In use when the node began to serve.
    pub startup: u64,
    /// Obtained by the program from the allocator, held by the allocator in pages in use, resident.
    pub allocator_allocated: u64,
    pub allocator_active: u64,
    pub allocator_resident: u64,
    pub total_system: u64,
    pub maxmemory: u64,
    /// As `maxmemory-policy` names it.
    pub maxmemory_policy: &'static str,
    /// Name and version.
    pub allocator: &'static str,
    /// Replica buffers and the like, which eviction could not free.
    pub not_counted_for_evict: u64,
    pub replication_backlog: u64,
    pub replication_buffers: u64,
    pub clients_normal: u64,
    pub clients_replicas: u64,
    pub cluster_links: u64,
    pub aof_buffer: u64,
    pub lazyfree_pending_objects: u64,
    pub lazyfreed_objects: u64,
    pub keys: u64,
    /// Of databases that have keys.
    pub databases: Vec<DbOverhead>,
    /// How many clients and replicas `clients_*` are spread over.
    pub clients: u64,
    pub replicas: u64,
}

/// `a / b`, and what to say when there is nothing to compare.
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

fn difference(a: u64, b: u64) -> i64 {
    a as i64 - b as i64
}

impl MemoryInfo {
    /// All that is not keys and values.
    pub fn overhead(&self) -> u64 {
        let tables: u64 = self.databases.iter().map(|db| db.table_bytes + db.expires_bytes).sum();
        self.startup
            + self.replication_backlog
            + self.clients_replicas
            + self.clients_normal
            + self.cluster_links
            + self.aof_buffer
            + tables
    }

    pub fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead())
    }

    /// In use beyond what the empty node needs; at least 1.
    fn net_usage(&self) -> u64 {
        self.used.saturating_sub(self.startup).max(1)
    }

    pub fn dataset_percent(&self) -> f64 {
        100.0 * ratio(self.dataset(), self.net_usage())
    }

    /// The peak is measured now and then, so the present may be above it.
    pub fn peak_so_far(&self) -> u64 {
        self.peak.max(self.used)
    }

    pub fn peak_percent(&self) -> f64 {
        100.0 * ratio(self.used, self.peak_so_far())
    }

    pub fn bytes_per_key(&self) -> u64 {
        self.net_usage().checked_div(self.keys).unwrap_or(0)
    }

    pub fn allocator_frag(&self) -> (f64, i64) {
        (
            ratio(self.allocator_active, self.allocator_allocated),
            difference(self.allocator_active, self.allocator_allocated),
        )
    }

    pub fn allocator_rss(&self) -> (f64, i64) {
        (
            ratio(self.allocator_resident, self.allocator_active),
            difference(self.allocator_resident, self.allocator_active),
        )
    }

    pub fn rss_overhead(&self) -> (f64, i64) {
        (ratio(self.rss, self.allocator_resident), difference(self.rss, self.allocator_resident))
    }

    pub fn fragmentation(&self) -> (f64, i64) {
        (ratio(self.rss, self.used), difference(self.rss, self.used))
    }
}

/// MEMORY STATS.
pub fn write_stats(out: &mut Writer<'_>, memory: &MemoryInfo) {
    out.map(27 + memory.databases.len());
    write_parts(out, memory);
    for db in &memory.databases {
        out.bulk_str(&format!("db.{}", db.db));
        out.map(3);
        write_int(out, "overhead.hashtable.main", db.table_bytes as i64);
        write_int(out, "overhead.hashtable.expires", db.expires_bytes as i64);
        // A slot's keys are in a table of their own here, so there is no such index.
        write_int(out, "overhead.hashtable.slot-to-keys", 0);
    }
    write_int(out, "overhead.total", memory.overhead() as i64);
    write_int(out, "keys.count", memory.keys as i64);
    write_int(out, "keys.bytes-per-key", memory.bytes_per_key() as i64);
    write_int(out, "dataset.bytes", memory.dataset() as i64);
    write_double(out, "dataset.percentage", memory.dataset_percent());
    write_double(out, "peak.percentage", memory.peak_percent());
    write_int(out, "allocator.allocated", memory.allocator_allocated as i64);
    write_int(out, "allocator.active", memory.allocator_active as i64);
    write_int(out, "allocator.resident", memory.allocator_resident as i64);
    write_ratio(out, "allocator-fragmentation.ratio", "allocator-fragmentation.bytes", memory.allocator_frag());
    write_ratio(out, "allocator-rss.ratio", "allocator-rss.bytes", memory.allocator_rss());
    write_ratio(out, "rss-overhead.ratio", "rss-overhead.bytes", memory.rss_overhead());
    write_ratio(out, "fragmentation", "fragmentation.bytes", memory.fragmentation());
}

fn write_parts(out: &mut Writer<'_>, memory: &MemoryInfo) {
    let parts = [
        ("peak.allocated", memory.peak_so_far()),
        ("total.allocated", memory.used),
        ("startup.allocated", memory.startup),
        ("replication.backlog", memory.replication_backlog),
        ("clients.slaves", memory.clients_replicas),
        ("clients.normal", memory.clients_normal),
        ("cluster.links", memory.cluster_links),
        ("aof.buffer", memory.aof_buffer),
        ("lua.caches", 0),
        ("functions.caches", 0),
    ];
    for (name, bytes) in parts {
        write_int(out, name, bytes as i64);
    }
}

fn write_int(out: &mut Writer<'_>, name: &str, value: i64) {
    out.bulk_str(name);
    out.int(value);
}

fn write_double(out: &mut Writer<'_>, name: &str, value: f64) {
    out.bulk_str(name);
    out.double(value);
}

fn write_ratio(out: &mut Writer<'_>, ratio_name: &str, bytes_name: &str, (ratio, bytes): (f64, i64)) {
    write_double(out, ratio_name, ratio);
    write_int(out, bytes_name, bytes);
}

/// MEMORY DOCTOR: what looks wrong, and what to do about it. The checks and their thresholds are Redis's, the words our own.
pub fn doctor(memory: &MemoryInfo) -> String {
    if memory.used < DOCTOR_MIN_BYTES {
        return "This node holds too little data for a verdict on its memory. Ask again once it is in use.\n".into();
    }
    let findings = findings(memory);
    if findings.is_empty() {
        return "No memory problem found.\n".into();
    }
    let mut report = String::from("Memory problems found on this node:\n\n");
    for finding in findings {
        report.push_str(" * ");
        report.push_str(&finding);
        report.push_str("\n\n");
    }
    report
}

fn findings(memory: &MemoryInfo) -> Vec<String> {
    let mut found = Vec::new();
    let exceeds = |(ratio, bytes): (f64, i64), limit: f64| ratio > limit && bytes > DOCTOR_MIN_WASTE_BYTES;
    if ratio(memory.peak_so_far(), memory.used) > 1.5 {
        found.push(format!(
            "Peak: {} were once in use, over 1.5 times the present {}. Pages left over from the peak stay resident until they \
             are used again or MEMORY PURGE gives them back.",
            bytes_to_human(memory.peak_so_far()),
            bytes_to_human(memory.used)
        ));
    }
    if exceeds(memory.fragmentation(), 1.4) {
        found.push(format!(
            "Resident set: {:.2} times the memory in use ({} allocator). Look for an earlier peak, and for values that grow \
             and shrink a lot.",
            memory.fragmentation().0,
            memory.allocator
        ));
    }
    if exceeds(memory.allocator_frag(), 1.1) {
        found.push(format!(
            "Fragmentation: the allocator's pages in use hold {:.2} times what was asked for. It usually follows a peak or a \
             change of the typical value size, and goes as the data is rewritten.",
            memory.allocator_frag().0
        ));
    }
    if exceeds(memory.allocator_rss(), 1.1) {
        found.push(format!(
            "Allocator: it keeps {:.2} times its pages in use resident. MEMORY PURGE returns free pages to the system.",
            memory.allocator_rss().0
        ));
    }
    if exceeds(memory.rss_overhead(), 1.1) {
        found.push(format!(
            "Process: {:.2} times the allocator's memory is resident. Look at rings, stacks and mappings of the process \
             (/proc/{{pid}}/smaps).",
            memory.rss_overhead().0
        ));
    }
    if memory.replicas > 0 && memory.clients_replicas > DOCTOR_REPLICA_BYTES {
        found.push(
            "Replicas: more than 10 MB wait to be sent to replicas. CLIENT LIST TYPE replica shows which one does not keep up."
                .into(),
        );
    }
    if memory.clients_normal.checked_div(memory.clients).unwrap_or(0) > DOCTOR_CLIENT_BYTES {
        found.push(
            "Clients: more than 200 KB a client on average. CLIENT LIST shows whose replies pile up (omem) or whose requests \
             are large (qbuf, argv-mem)."
                .into(),
        );
    }
    found
}

/// What one thread's allocator counters say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadAllocations {
    /// `thread0`, ...: in the order in which they first allocated.
    pub thread: String,
    /// Allocated less freed by this thread; negative when it frees what others allocated.
    pub net_bytes: i64,
}

/// MEMORY MALLOC-STATS.
pub fn malloc_stats(memory: &MemoryInfo, threads: &[ThreadAllocations]) -> String {
    let mut text = format!(
        "allocator: {}\nallocated: {}\nactive: {}\nresident: {}\n",
        memory.allocator, memory.allocator_allocated, memory.allocator_active, memory.allocator_resident
    );
    for thread in threads {
        text.push_str(&format!("{}: net_bytes={}\n", thread.thread, thread.net_bytes));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Proto, written};

    /// A node with 100 MB in use, nothing amiss.
    fn healthy() -> MemoryInfo {
        MemoryInfo {
            used: 100 << 20,
            rss: 110 << 20,
            peak: 101 << 20,
            startup: 1 << 20,
            allocator_allocated: 100 << 20,
            allocator_active: 102 << 20,
            allocator_resident: 108 << 20,
            allocator: "mimalloc",
            clients_normal: 1 << 20,
            clients: 50,
            keys: 1_000,
            databases: vec![DbOverhead { db: 0, table_bytes: 2 << 20, expires_bytes: 0 }],
            ..MemoryInfo::default()
        }
    }

    #[test]
    fn derived_figures() {
        let memory = healthy();
        assert_eq!(memory.overhead(), 4 << 20);
        assert_eq!(memory.dataset(), 96 << 20);
        assert_eq!(memory.bytes_per_key(), (99 << 20) / 1_000);
        assert!((memory.dataset_percent() - 96.0 / 99.0 * 100.0).abs() < 1e-9);
        assert_eq!(memory.fragmentation(), (1.1, 10 << 20));
        let empty = MemoryInfo::default();
        assert_eq!((empty.bytes_per_key(), empty.peak_percent(), empty.fragmentation()), (0, 0.0, (0.0, 0)));
    }

    #[test]
    fn stats_announces_as_many_pairs_as_it_writes() {
        for proto in [Proto::Resp2, Proto::Resp3] {
            let text = written(proto, |out| write_stats(out, &healthy()));
            let start = if proto == Proto::Resp3 { "%28\r\n" } else { "*56\r\n" };
            assert!(text.starts_with(start), "{text}");
            // Every pair has one bulk string for its name; in RESP2 doubles are bulk strings too.
            let names = text.matches('$').count();
            let doubles = 6;
            assert_eq!(names, if proto == Proto::Resp3 { 28 + 3 } else { 28 + 3 + doubles });
            assert!(text.contains("$4\r\ndb.0\r\n") && text.ends_with("fragmentation.bytes\r\n:10485760\r\n"));
        }
    }

    #[test]
    fn the_doctor_names_what_is_wrong() {
        assert_eq!(doctor(&healthy()), "No memory problem found.\n");
        assert!(doctor(&MemoryInfo::default()).contains("too little data"));
        let peak = MemoryInfo { peak: 200 << 20, ..healthy() };
        assert!(doctor(&peak).contains("* Peak: 200.00M"));
        let rss = MemoryInfo { rss: 300 << 20, ..healthy() };
        assert!(doctor(&rss).contains("* Resident set: 3.00") && doctor(&rss).contains("* Process:"));
        let clients = MemoryInfo { clients_normal: 60 << 20, clients: 2, ..healthy() };
        assert!(doctor(&clients).contains("* Clients:"));
    }

    #[test]
    fn malloc_stats_lists_the_threads() {
        let threads = [ThreadAllocations { thread: "shard0".into(), net_bytes: -5 }];
        assert!(malloc_stats(&healthy(), &threads).ends_with("shard0: net_bytes=-5\n"));
    }
}
