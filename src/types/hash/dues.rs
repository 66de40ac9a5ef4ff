//! When the fields of a large hash expire, earliest first: a B+ tree of expiry and field hash.
//!
//! Guarantees
//! - adding, removing and finding the first touch one node a level, of at most [`LEAF_DUES`] dues or [`INNER_KIDS`] kids
//! - a clone costs one pointer; each side copies the nodes that it then writes to
//!
//! Invariants
//! - all leaves are equally deep; no node but a lone root leaf is empty
//! - a kid's `least` is at most what is below it, and at least what is below the kids before it
//!
//! Two dues may be equal, if two hashes are, and either stands for both then; one of them may not be found by `remove` when a node ends
//! between them. So whoever takes a due must look whether a field has that expiry. Knows nothing of the fields.

use std::sync::Arc;

/// 2 KiB.
const LEAF_DUES: usize = if cfg!(test) { 8 } else { 128 };
/// 1.5 KiB.
const INNER_KIDS: usize = if cfg!(test) { 6 } else { 64 };
/// A node begins with room for that many.
const FEW: usize = 4;

/// When a field expires, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    pub at_ms: u64,
    /// The hash of its name.
    pub hash: u64,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Due>),
    Inner(Vec<Kid>),
}

#[derive(Clone, Debug)]
struct Kid {
    least: Due,
    node: Arc<Node>,
}

#[derive(Clone, Debug)]
pub struct Dues {
    root: Arc<Node>,
    len: usize,
}

impl Default for Dues {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl Dues {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn first(&self) -> Option<Due> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(dues) => return dues.first().copied(),
                Node::Inner(kids) => node = &kids.first()?.node,
            }
        }
    }

    pub fn insert(&mut self, due: Due) {
        self.len += 1;
        if let Some(right) = insert(&mut self.root, due) {
            let left = Kid { least: Due { at_ms: 0, hash: 0 }, node: self.root.clone() };
            self.root = Arc::new(Node::Inner(vec![left, right]));
        }
    }

    /// Takes a due out; tells whether it was there.
    pub fn remove(&mut self, due: Due) -> bool {
        if !contains(&self.root, due) {
            return false;
        }
        self.len -= 1;
        remove(&mut self.root, due);
        while let Node::Inner(kids) = &*self.root
            && let [only] = &kids[..]
        {
            self.root = only.node.clone();
        }
        true
    }

    /// An estimate: leaves are two thirds full if dues come in no order.
    pub fn heap_bytes(&self) -> usize {
        (self.len + self.len / 2 + FEW) * size_of::<Due>()
    }

    /// Frees about `budget` dues; tells whether more are left. Until none is, nothing else may be asked.
    pub fn drop_some(&mut self, mut budget: usize) -> bool {
        match shed(&mut self.root, &mut budget) {
            Left::More => true,
            Left::Nothing => {
                *self = Self::default();
                false
            }
        }
    }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(dues) => dues.len(),
            Self::Inner(kids) => kids.len(),
        }
    }

    fn most(&self) -> usize {
        match self {
            Self::Leaf(_) => LEAF_DUES,
            Self::Inner(_) => INNER_KIDS,
        }
    }
}

/// The kid below which a due belongs.
fn kid_of(kids: &[Kid], due: Due) -> usize {
    kids.partition_point(|kid| kid.least <= due).saturating_sub(1)
}

fn contains(node: &Node, due: Due) -> bool {
    match node {
        Node::Leaf(dues) => dues.binary_search(&due).is_ok(),
        Node::Inner(kids) => contains(&kids[kid_of(kids, due)].node, due),
    }
}

/// Adds a due below a node. If the node is then split, the right half.
fn insert(node: &mut Arc<Node>, due: Due) -> Option<Kid> {
    match Arc::make_mut(node) {
        Node::Leaf(dues) => {
            let at = dues.partition_point(|other| *other < due);
            let right = insert_at(dues, at, due, LEAF_DUES)?;
            Some(Kid { least: right[0], node: Arc::new(Node::Leaf(right)) })
        }
        Node::Inner(kids) => {
            let at = kid_of(kids, due);
            kids[at].least = kids[at].least.min(due);
            let kid = insert(&mut kids[at].node, due)?;
            let right = insert_at(kids, at + 1, kid, INNER_KIDS)?;
            Some(Kid { least: right[0].least, node: Arc::new(Node::Inner(right)) })
        }
    }
}

/// Puts an item in its place, after a split if there are `most` already. The right half of a split: the item alone if it is the last,
/// so that ascending dues leave full nodes behind.
fn insert_at<T>(items: &mut Vec<T>, at: usize, item: T, most: usize) -> Option<Vec<T>> {
    if items.len() < most {
        reserve(items, 1, most);
        items.insert(at, item);
        return None;
    }
    let middle = if at == most { most } else { most / 2 };
    let mut right = Vec::with_capacity(most);
    right.extend(items.drain(middle..));
    if at >= middle {
        right.insert(at - middle, item);
    } else {
        items.insert(at, item);
    }
    Some(right)
}

/// Makes room by doubling, but for no more than `most`.
fn reserve<T>(items: &mut Vec<T>, more: usize, most: usize) {
    if items.capacity() < items.len() + more {
        let room = (items.len() + more).max(items.len() * 2).max(FEW).min(most);
        items.reserve_exact(room - items.len());
    }
}

/// Takes a due out that is there.
fn remove(node: &mut Arc<Node>, due: Due) {
    match Arc::make_mut(node) {
        Node::Leaf(dues) => {
            if let Ok(at) = dues.binary_search(&due) {
                dues.remove(at);
            }
        }
        Node::Inner(kids) => {
            let at = kid_of(kids, due);
            remove(&mut kids[at].node, due);
            if kids[at].node.len() == 0 {
                kids.remove(at);
            } else {
                merge_around(kids, at);
            }
        }
    }
}

/// Puts a kid that has become small together with a neighbour, if there is room.
fn merge_around(kids: &mut Vec<Kid>, at: usize) {
    let (len, most) = (kids[at].node.len(), kids[at].node.most());
    if len > most / 4 {
        return;
    }
    // Some room is left, so that the next insertions do not split what was merged.
    let fits = |left: usize| {
        let pair = kids.get(left..left + 2);
        pair.is_some_and(|pair| pair[0].node.len() + pair[1].node.len() <= most * 3 / 4)
    };
    if let Some(left) = [Some(at), at.checked_sub(1)].into_iter().flatten().find(|left| fits(*left)) {
        let right = kids.remove(left + 1);
        merge(Arc::make_mut(&mut kids[left].node), right);
    }
}

/// Moves all that is below a kid behind what its left neighbour has.
fn merge(left: &mut Node, right: Kid) {
    match (left, Arc::unwrap_or_clone(right.node)) {
        (Node::Leaf(dues), Node::Leaf(more)) => {
            reserve(dues, more.len(), LEAF_DUES);
            dues.extend(more);
        }
        (Node::Inner(kids), Node::Inner(more)) => {
            reserve(kids, more.len(), INNER_KIDS);
            kids.extend(more);
        }
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
            unreachable!("all leaves are equally deep")
        }
    }
}

enum Left {
    Nothing,
    More,
}

/// Lets go of what is below a node, from the end on. A shared inner node is copied, so that it costs its budget as well: its other
/// owner may be gone by the time it is let go of.
fn shed(node: &mut Arc<Node>, budget: &mut usize) -> Left {
    if let Node::Leaf(dues) = &**node {
        *budget = budget.saturating_sub(dues.len());
        return Left::Nothing;
    }
    if let Node::Inner(kids) = Arc::make_mut(node) {
        while let Some(last) = kids.last_mut() {
            if *budget == 0 || matches!(shed(&mut last.node, budget), Left::More) {
                return Left::More;
            }
            kids.pop();
        }
    }
    Left::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    impl Dues {
        fn check(&self) -> Vec<Due> {
            let mut all = Vec::new();
            check(&self.root, &mut all);
            assert!(all.is_sorted());
            assert_eq!((all.len(), all.first().copied()), (self.len(), self.first()));
            all
        }
    }

    /// Collects the dues; the depth of the leaves.
    fn check(node: &Node, all: &mut Vec<Due>) -> usize {
        assert!(node.len() <= node.most());
        match node {
            Node::Leaf(dues) => {
                assert!(dues.capacity() <= LEAF_DUES);
                all.extend(dues);
                0
            }
            Node::Inner(kids) => {
                assert!(kids.is_sorted_by_key(|kid| kid.least) && kids.capacity() <= INNER_KIDS);
                let mut depths = Vec::new();
                for (at, kid) in kids.iter().enumerate() {
                    let start = all.len();
                    depths.push(check(&kid.node, all));
                    assert!(all.len() > start && kid.least <= all[start]);
                    assert!(kids.get(at + 1).is_none_or(|next| all[all.len() - 1] < next.least));
                }
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                depths[0] + 1
            }
        }
    }

    #[test]
    fn ascending_dues_leave_full_leaves() {
        let mut dues = Dues::default();
        (0..1000).for_each(|at_ms| dues.insert(Due { at_ms, hash: 7 }));
        dues.check();
        fn leaves(node: &Node) -> usize {
            match node {
                Node::Leaf(_) => 1,
                Node::Inner(kids) => kids.iter().map(|kid| leaves(&kid.node)).sum(),
            }
        }
        assert_eq!(leaves(&dues.root), 1000 / LEAF_DUES);
    }

    #[test]
    fn equal_dues_are_all_kept() {
        let mut dues = Dues::default();
        let due = Due { at_ms: 1, hash: 1 };
        (0..3).for_each(|_| dues.insert(due));
        (0..3).for_each(|_| assert!(dues.remove(due)));
        assert!(!dues.remove(due) && dues.first().is_none());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Due),
        Remove(Due),
        RemoveFirst(u8),
        Fork,
    }

    fn due() -> impl Strategy<Value = Due> {
        (0u64..40, 0u64..20).prop_map(|(at_ms, hash)| Due { at_ms, hash })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => due().prop_map(Step::Insert),
            5 => due().prop_map(Step::Remove),
            1 => any::<u8>().prop_map(Step::RemoveFirst),
            1 => Just(Step::Fork),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn as_a_sorted_set(steps in prop::collection::vec(step(), 0..800), budget in 1usize..50) {
            let (mut dues, mut model) = (Dues::default(), BTreeSet::new());
            let mut forks = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(due) => if model.insert(due) { dues.insert(due) },
                    Step::Remove(due) => prop_assert_eq!(dues.remove(due), model.remove(&due)),
                    Step::RemoveFirst(count) => for _ in 0..count % 60 {
                        let first = dues.first();
                        prop_assert_eq!(first, model.pop_first());
                        let Some(first) = first else { break };
                        prop_assert!(dues.remove(first));
                    },
                    Step::Fork => {
                        // The clone goes on, the original must stay.
                        forks.push((dues.clone(), model.clone()));
                        std::mem::swap(&mut forks.last_mut().expect("pushed").0, &mut dues);
                    }
                }
                dues.check();
            }
            for (fork, model) in &forks {
                prop_assert_eq!(fork.check(), model.iter().copied().collect::<Vec<_>>());
            }
            let mut calls = 0;
            while dues.drop_some(budget) {
                calls += 1;
            }
            prop_assert!(calls <= model.len() && dues.first().is_none());
            for (fork, model) in &forks {
                prop_assert_eq!(fork.check().len(), model.len());
            }
        }
    }
}
