//! What clients did and saw, and whether some order of it explains everything: strict serialisability.
//!
//! Every write makes a version that no other write makes, and tells which version it replaced. So the versions of a key form a chain, and
//! who must come before whom follows from what each operation read and wrote, and from which had returned before another began.

use std::collections::{BTreeMap, HashMap};

pub type Key = usize;
pub type Version = u64;

/// The version that every key starts with.
pub const INITIAL: Version = 0;

/// Operations in one history: their sets are bit masks.
pub const MAX_OPERATIONS: usize = u128::BITS as usize;

#[derive(Debug, Default)]
pub struct Operation {
    pub invoked: u64,
    /// When its client had the reply; `None`: it never had.
    pub returned: Option<u64>,
    /// Whether it ran. All its reads and writes took effect then.
    pub ran: bool,
    pub reads: Vec<(Key, Version)>,
    /// Key, version before, version after. What is replaced was read, too.
    pub writes: Vec<(Key, Version, Version)>,
}

#[derive(Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    versions: Version,
}

impl History {
    /// An operation begins; its number.
    pub fn invoke(&mut self, now: u64) -> usize {
        assert!(self.operations.len() < MAX_OPERATIONS);
        self.operations.push(Operation { invoked: now, ..Operation::default() });
        self.operations.len() - 1
    }

    pub fn read(&mut self, operation: usize, key: Key, version: Version) {
        self.operations[operation].reads.push((key, version));
    }

    /// A new version of a key, to replace this one.
    pub fn write(&mut self, operation: usize, key: Key, before: Version) -> Version {
        self.versions += 1;
        self.operations[operation].writes.push((key, before, self.versions));
        self.versions
    }

    pub fn ran(&mut self, operation: usize) {
        assert!(!std::mem::replace(&mut self.operations[operation].ran, true), "operation {operation} runs twice");
    }

    pub fn returned(&mut self, operation: usize, now: u64) {
        assert!(self.operations[operation].ran, "operation {operation} is answered and did not run");
        self.operations[operation].returned = Some(now);
    }

    /// Whether all this is possible with every operation taking effect at one moment between its call and its return, and ends in these
    /// versions. `Err` tells what is not.
    pub fn check(&self, last: &BTreeMap<Key, Version>) -> Result<(), String> {
        let chains = Chains::of(&self.operations, last)?;
        let mut before: Vec<u128> = vec![0; self.operations.len()];
        let mut order = |first: usize, second: usize| {
            if first != second {
                before[second] |= 1 << first;
            }
        };
        for (number, operation) in self.operations.iter().enumerate().filter(|(_, operation)| operation.ran) {
            let replaced = operation.writes.iter().map(|(key, old, _)| (*key, *old));
            for (key, version) in operation.reads.iter().copied().chain(replaced) {
                if version != INITIAL {
                    order(chains.writer(key, version)?, number);
                }
                if let Some(next) = chains.replaced_by.get(&(key, version)) {
                    order(number, *next);
                }
            }
            for (earlier, other) in self.operations.iter().enumerate() {
                if other.returned.is_some_and(|returned| returned < operation.invoked) {
                    order(earlier, number);
                }
            }
        }
        self.check_order(&before)
    }

    /// Takes out, again and again, whom nobody has to precede.
    fn check_order(&self, before: &[u128]) -> Result<(), String> {
        let ran = |number: &usize| self.operations[*number].ran;
        let mut left: u128 = (0..before.len()).filter(ran).fold(0, |set, number| set | 1 << number);
        while left != 0 {
            let free = (0..before.len()).filter(|number| left >> number & 1 == 1 && before[*number] & left == 0);
            let free = free.fold(0, |set, number| set | 1 << number);
            if free == 0 {
                let cycle = (0..before.len()).filter(|number| left >> number & 1 == 1);
                let shown: Vec<_> = cycle.map(|number| (number, &self.operations[number])).collect();
                return Err(format!("no order explains these operations: {shown:#?}"));
            }
            left &= !free;
        }
        Ok(())
    }
}

/// Who wrote each version, and who replaced it.
#[derive(Default)]
struct Chains {
    written_by: HashMap<(Key, Version), usize>,
    replaced_by: HashMap<(Key, Version), usize>,
}

impl Chains {
    fn of(operations: &[Operation], last: &BTreeMap<Key, Version>) -> Result<Chains, String> {
        let mut chains = Chains::default();
        let mut next = HashMap::new();
        for (number, operation) in operations.iter().enumerate() {
            for &(key, old, new) in &operation.writes {
                chains.written_by.insert((key, new), number);
                next.insert((key, old), new);
                if let Some(other) = chains.replaced_by.insert((key, old), number) {
                    return Err(format!("operations {other} and {number} both replaced version {old} of key {key}"));
                }
            }
        }
        let mut reached = 0;
        for (key, end) in last {
            let mut version = INITIAL;
            while let Some(newer) = next.get(&(*key, version)) {
                version = *newer;
                reached += 1;
            }
            if version != *end {
                return Err(format!("key {key} holds version {end}, and the last written is {version}"));
            }
        }
        let written = chains.written_by.len();
        if reached != written { Err(format!("{} writes are lost", written - reached)) } else { Ok(chains) }
    }

    fn writer(&self, key: Key, version: Version) -> Result<usize, String> {
        let known = self.written_by.get(&(key, version)).copied();
        known.ok_or_else(|| format!("version {version} of key {key} was read and never written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(times: (u64, u64), reads: &[(Key, Version)], writes: &[(Key, Version, Version)]) -> Operation {
        let (reads, writes) = (reads.to_vec(), writes.to_vec());
        Operation { invoked: times.0, returned: Some(times.1), ran: true, reads, writes }
    }

    #[track_caller]
    fn check(operations: Vec<Operation>, last: &[(Key, Version)], problem: Option<&str>) {
        let history = History { operations, versions: 0 };
        match (history.check(&last.iter().copied().collect()), problem) {
            (Ok(()), None) => {}
            (Err(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn one_after_another() {
        let (write, read) = (operation((1, 2), &[], &[(0, 0, 1)]), operation((3, 4), &[(0, 1)], &[]));
        check(vec![write, read], &[(0, 1)], None);
    }

    #[test]
    fn an_old_value_may_be_read_only_until_the_new_one_is_acknowledged() {
        let write = || operation((1, 5), &[], &[(0, 0, 1)]);
        check(vec![write(), operation((4, 9), &[(0, 0)], &[])], &[(0, 1)], None);
        check(vec![write(), operation((6, 9), &[(0, 0)], &[])], &[(0, 1)], Some("no order"));
    }

    #[test]
    fn half_of_a_transaction() {
        let write = operation((1, 9), &[], &[(0, 0, 1), (1, 0, 2)]);
        check(vec![write, operation((1, 9), &[(0, 1), (1, 0)], &[])], &[(0, 1), (1, 2)], Some("no order"));
    }

    #[test]
    fn write_skew() {
        let one = operation((1, 9), &[(0, 0)], &[(1, 0, 1)]);
        let other = operation((1, 9), &[(1, 0)], &[(0, 0, 2)]);
        check(vec![one, other], &[(0, 2), (1, 1)], Some("no order"));
    }

    #[test]
    fn updates_that_are_lost() {
        let twice = || vec![operation((1, 2), &[], &[(0, 0, 1)]), operation((3, 4), &[], &[(0, 0, 2)])];
        check(twice(), &[(0, 2)], Some("both replaced version 0"));
        check(vec![operation((1, 2), &[], &[(0, 0, 1)])], &[(0, 0)], Some("holds version 0"));
        check(vec![operation((1, 2), &[], &[(0, 7, 1)])], &[(0, 0)], Some("1 writes are lost"));
        check(vec![operation((1, 2), &[(0, 3)], &[])], &[(0, 0)], Some("never written"));
    }
}
