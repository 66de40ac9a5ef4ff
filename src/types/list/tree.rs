//! The nodes of a large list in order, found by the number of elements or of nodes in front of them.
//!
//! A B+ tree that knows of each branch what is under it. A copy shares all of it; a change copies what is on its path, if shared:
//! some 30 pointers a level.
//!
//! Invariants
//! - all nodes are at the same depth; a branch has 1 to [`MAX_KIDS`] kids; a root of branches has at least two
//! - a branch's sum is that of its kids
//! - depth grows only when a root is full: finding and changing takes time logarithmic in the most nodes there ever were
//!
//! There is no least number of kids, so cutting a tree in two needs no repair; neighbours that become small are joined. Knows nothing
//! of what is in the nodes.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::node::{Node, Sum, allocated_bytes};
use super::run::Side;

/// With two to spare, the kids of a branch are 1 KiB of nodes.
const MAX_KIDS: usize = if cfg!(test) { 4 } else { 30 };
/// A change makes at most two kids more of one.
const KIDS_ROOM: usize = MAX_KIDS + 2;
/// A branch that has become this small is joined with a neighbour, if that leaves room for more.
const SMALL_KIDS: usize = MAX_KIDS / 4;
const MAX_JOINED_KIDS: usize = MAX_KIDS * 3 / 4;

#[derive(Debug)]
enum Kids {
    Nodes(Vec<Node>),
    Branches(Vec<Branch>),
}

impl Clone for Kids {
    /// With room for more, since a copy is made to be changed.
    fn clone(&self) -> Kids {
        match self {
            Kids::Nodes(nodes) => Kids::Nodes(filled(nodes.iter().cloned())),
            Kids::Branches(branches) => Kids::Branches(filled(branches.iter().cloned())),
        }
    }
}

#[derive(Clone, Debug)]
struct Branch {
    sum: Sum,
    kids: Arc<Kids>,
}

/// What positions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Element,
    Node,
}

impl By {
    #[inline]
    fn of(self, sum: &Sum) -> u64 {
        match self {
            By::Element => sum.elements,
            By::Node => sum.nodes,
        }
    }
}

/// Where in the tree a change is: what grows at an end leaves full branches behind.
#[derive(Clone, Copy)]
enum Place {
    Before,
    Within,
    Behind,
}

#[derive(Clone, Debug, Default)]
pub struct Tree {
    root: Option<Branch>,
}

impl Tree {
    pub fn sum(&self) -> Sum {
        self.root.as_ref().map_or(Sum::default(), |root| root.sum)
    }

    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Memory of nodes and tree: what branches take is estimated.
    pub fn heap_bytes(&self) -> u64 {
        let sum = self.sum();
        // Branches are two thirds full, or a few only.
        let of_branches = allocated_bytes(KIDS_ROOM * size_of::<Node>()) + size_of::<Kids>() + 2 * size_of::<usize>();
        sum.heap_bytes + (sum.nodes * 3 / 2).div_ceil(MAX_KIDS as u64) * of_branches as u64
    }

    /// The node at a position, and how far into it that is.
    #[inline]
    pub fn find(&self, by: By, position: u64) -> Option<(&Node, u64)> {
        let mut branch = self.root.as_ref()?;
        let mut rest = position;
        loop {
            match &*branch.kids {
                Kids::Nodes(nodes) => return seek(nodes, by, &mut rest).map(|at| (&nodes[at], rest)),
                Kids::Branches(branches) => branch = &branches[seek(branches, by, &mut rest)?],
            }
        }
    }

    /// Visits nodes and the index of their first element, from the one at `position` on, which counts from that side.
    pub fn walk<F>(&self, side: Side, position: u64, mut visit: F) -> ControlFlow<()>
    where
        F: FnMut(&Node, u64) -> ControlFlow<()>,
    {
        let Some(root) = &self.root else { return ControlFlow::Continue(()) };
        match side {
            Side::Front => walk_forwards(root, position, 0, &mut visit),
            Side::Back => walk_backwards(root, position, root.sum.elements, &mut visit),
        }
    }

    pub fn push(&mut self, side: Side, node: Node) {
        let position = match side {
            Side::Front => 0,
            Side::Back => self.sum().nodes,
        };
        self.edit(By::Node, position, |nodes, at, _| nodes.insert(at, node));
    }

    /// Takes the outermost node off.
    pub fn pop(&mut self, side: Side) -> Option<Node> {
        let last = self.sum().nodes.checked_sub(1)?;
        let position = if side == Side::Front { 0 } else { last };
        Some(self.edit(By::Node, position, |nodes, at, _| nodes.remove(at)))
    }

    /// Lets `change` alter the nodes around a position: it gets them, which of them the position is in (one too far at the end of the
    /// tree), and how far into it that is. It may alter that one and its neighbours, and make them fewer or two more.
    pub fn edit<R>(&mut self, by: By, position: u64, change: impl FnOnce(&mut Vec<Node>, usize, u64) -> R) -> R {
        let empty = || Branch::of(Kids::Nodes(Vec::with_capacity(KIDS_ROOM)));
        let root = self.root.get_or_insert_with(empty);
        let place = match position {
            _ if position >= by.of(&root.sum) => Place::Behind,
            0 => Place::Before,
            _ => Place::Within,
        };
        let mut result = None;
        let mut change = Some(change);
        edit(root, by, position, place, &mut |nodes, at, offset| {
            if let Some(change) = change.take() {
                result = Some(change(nodes, at, offset));
            }
        });
        if root.len() > MAX_KIDS {
            let upper = root.split(place);
            let lower = std::mem::replace(root, Branch::of(Kids::Branches(Vec::with_capacity(KIDS_ROOM))));
            *root = Branch::of(Kids::Branches(filled(vec![lower, upper])));
        }
        self.settle_root();
        result.unwrap_or_else(|| unreachable!("each edit reaches nodes"))
    }

    /// Cuts the tree at an element that is the first of a node, and returns what comes from there on.
    pub fn split_off(&mut self, element: u64) -> Tree {
        let Some(root) = self.root.take() else { return Tree::default() };
        let (before, behind) = cut(root, element);
        let mut rest = Tree { root: behind };
        self.root = before;
        self.settle_root();
        rest.settle_root();
        rest
    }

    /// Keeps the invariants of the root.
    fn settle_root(&mut self) {
        while let Some(root) = &self.root {
            match &*root.kids {
                Kids::Branches(branches) if branches.len() == 1 => self.root = Some(branches[0].clone()),
                _ if root.len() == 0 => self.root = None,
                _ => return,
            }
        }
    }

    /// Frees nodes of about `budget` elements, any of them. Whether more are left.
    ///
    /// The tree is of no other use from then on, since its sums are no longer right. What other copies share is left to them.
    pub fn drop_some(&mut self, budget: usize) -> bool {
        let mut budget = budget as u64;
        drop(self.root.take_if(|root| shed(root, &mut budget)));
        self.root.is_some()
    }

    #[cfg(test)]
    pub fn check(&self) {
        fn depth(branch: &Branch) -> usize {
            assert!((1..=MAX_KIDS).contains(&branch.len()), "{} kids", branch.len());
            assert_eq!(branch.sum, branch.kids.sum());
            match &*branch.kids {
                Kids::Nodes(_) => 0,
                Kids::Branches(branches) => {
                    let depths: Vec<_> = branches.iter().map(depth).collect();
                    assert!(depths.iter().all(|depth| *depth == depths[0]));
                    depths[0] + 1
                }
            }
        }
        if let Some(root) = &self.root {
            depth(root);
            assert!(matches!(&*root.kids, Kids::Nodes(_)) || root.len() > 1);
        }
    }
}

impl Kids {
    fn sum(&self) -> Sum {
        match self {
            Kids::Nodes(nodes) => sum_of(nodes),
            Kids::Branches(branches) => branches.iter().map(|branch| branch.sum).sum(),
        }
    }

    fn split_off(&mut self, at: usize) -> Kids {
        match self {
            Kids::Nodes(nodes) => Kids::Nodes(filled(nodes.drain(at..))),
            Kids::Branches(branches) => Kids::Branches(filled(branches.drain(at..))),
        }
    }

    /// Takes the kids of a neighbour behind its own.
    fn append(&mut self, other: Kids) {
        match (self, other) {
            (Kids::Nodes(own), Kids::Nodes(mut other)) => own.append(&mut other),
            (Kids::Branches(own), Kids::Branches(mut other)) => own.append(&mut other),
            (Kids::Nodes(_), Kids::Branches(_)) | (Kids::Branches(_), Kids::Nodes(_)) => {
                unreachable!("neighbours are at the same depth")
            }
        }
    }
}

impl Branch {
    fn of(kids: Kids) -> Branch {
        Branch { sum: kids.sum(), kids: Arc::new(kids) }
    }

    #[inline]
    fn len(&self) -> usize {
        match &*self.kids {
            Kids::Nodes(nodes) => nodes.len(),
            Kids::Branches(branches) => branches.len(),
        }
    }

    /// Splits one that has too many kids, and returns the upper part.
    fn split(&mut self, place: Place) -> Branch {
        let at = match place {
            Place::Before => self.len() - MAX_KIDS,
            Place::Within => self.len() / 2,
            Place::Behind => MAX_KIDS,
        };
        let upper = Branch::of(Arc::make_mut(&mut self.kids).split_off(at));
        self.sum -= upper.sum;
        upper
    }

    fn append(&mut self, other: Branch) {
        self.sum += other.sum;
        Arc::make_mut(&mut self.kids).append(Arc::unwrap_or_clone(other.kids));
    }
}

fn sum_of(nodes: &[Node]) -> Sum {
    nodes.iter().map(Node::sum).sum()
}

/// Kids with room for more.
fn filled<T>(kids: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all = Vec::with_capacity(KIDS_ROOM);
    all.extend(kids);
    all
}

/// What has a sum.
trait Kid {
    fn measure(&self, by: By) -> u64;
}

impl Kid for Node {
    #[inline]
    fn measure(&self, by: By) -> u64 {
        match by {
            By::Element => self.tally().count.into(),
            By::Node => 1,
        }
    }
}

impl Kid for Branch {
    #[inline]
    fn measure(&self, by: By) -> u64 {
        by.of(&self.sum)
    }
}

/// Which kid the position is in; the position becomes one within that.
#[inline]
fn seek<K: Kid>(kids: &[K], by: By, position: &mut u64) -> Option<usize> {
    for (at, kid) in kids.iter().enumerate() {
        let size = kid.measure(by);
        if *position < size {
            return Some(at);
        }
        *position -= size;
    }
    None
}

type Change<'a> = &'a mut dyn FnMut(&mut Vec<Node>, usize, u64);

/// Changes nodes below a branch, and repairs all below it but not itself.
fn edit(branch: &mut Branch, by: By, position: u64, place: Place, change: Change<'_>) {
    let mut rest = position;
    match Arc::make_mut(&mut branch.kids) {
        Kids::Nodes(nodes) => {
            let at = seek(nodes, by, &mut rest).unwrap_or(nodes.len());
            let (from, to, len) = (at.saturating_sub(1), (at + 2).min(nodes.len()), nodes.len());
            branch.sum -= sum_of(&nodes[from..to]);
            change(nodes, at, rest);
            branch.sum += sum_of(&nodes[from..to + nodes.len() - len]);
        }
        Kids::Branches(branches) => {
            // Behind the end is at the end of the last.
            let at = seek(branches, by, &mut rest).unwrap_or_else(|| {
                rest = u64::MAX;
                branches.len() - 1
            });
            branch.sum -= branches[at].sum;
            edit(&mut branches[at], by, rest, place, change);
            branch.sum += branches[at].sum;
            repair(branches, at, place);
        }
    }
}

/// Splits, joins or removes a branch that has changed.
fn repair(branches: &mut Vec<Branch>, at: usize, place: Place) {
    match branches[at].len() {
        0 => drop(branches.remove(at)),
        len if len > MAX_KIDS => {
            let upper = branches[at].split(place);
            branches.insert(at + 1, upper);
        }
        len if len <= SMALL_KIDS => {
            let joins = |lower: usize| {
                branches.get(lower + 1).is_some_and(|upper| branches[lower].len() + upper.len() <= MAX_JOINED_KIDS)
            };
            let lower = if joins(at) {
                at
            } else if at > 0 && joins(at - 1) {
                at - 1
            } else {
                return;
            };
            let upper = branches.remove(lower + 1);
            branches[lower].append(upper);
        }
        _ => {}
    }
}

/// What is before and what from that element on, which is the first of a node.
fn cut(branch: Branch, element: u64) -> (Option<Branch>, Option<Branch>) {
    if element == 0 {
        return (None, Some(branch));
    }
    if element >= branch.sum.elements {
        return (Some(branch), None);
    }
    let mut kids = Arc::unwrap_or_clone(branch.kids);
    let mut rest = element;
    let behind = match &mut kids {
        Kids::Nodes(nodes) => {
            let at = seek(nodes, By::Element, &mut rest).unwrap_or(nodes.len());
            debug_assert_eq!(rest, 0);
            kids.split_off(at)
        }
        Kids::Branches(branches) => {
            let at = seek(branches, By::Element, &mut rest).unwrap_or(branches.len());
            let mut upper = filled(branches.drain(at..));
            if rest > 0 {
                let (before, behind) = cut(upper.remove(0), rest);
                branches.extend(before);
                if let Some(behind) = behind {
                    upper.insert(0, behind);
                }
            }
            Kids::Branches(upper)
        }
    };
    (Some(Branch::of(kids)), Some(Branch::of(behind)))
}

type Visit<'a> = &'a mut dyn FnMut(&Node, u64) -> ControlFlow<()>;

/// `first` is the index of the branch's first element, `skip` how many elements are to be passed over.
fn walk_forwards(branch: &Branch, skip: u64, mut first: u64, visit: Visit<'_>) -> ControlFlow<()> {
    let mut rest = skip;
    match &*branch.kids {
        Kids::Nodes(nodes) => {
            let from = seek(nodes, By::Element, &mut rest).unwrap_or(nodes.len());
            first += skip - rest;
            for node in &nodes[from..] {
                visit(node, first)?;
                first += u64::from(node.tally().count);
            }
        }
        Kids::Branches(branches) => {
            let from = seek(branches, By::Element, &mut rest).unwrap_or(branches.len());
            first += skip - rest;
            for kid in &branches[from..] {
                walk_forwards(kid, rest, first, visit)?;
                first += kid.sum.elements;
                rest = 0;
            }
        }
    }
    ControlFlow::Continue(())
}

/// `end` is the index behind the branch's last element, `skip` how many elements are to be passed over, from the back.
fn walk_backwards(branch: &Branch, mut skip: u64, mut end: u64, visit: Visit<'_>) -> ControlFlow<()> {
    match &*branch.kids {
        Kids::Nodes(nodes) => {
            for node in nodes.iter().rev() {
                let count = u64::from(node.tally().count);
                end -= count;
                if skip >= count {
                    skip -= count;
                } else {
                    skip = 0;
                    visit(node, end)?;
                }
            }
        }
        Kids::Branches(branches) => {
            for kid in branches.iter().rev() {
                if skip >= kid.sum.elements {
                    skip -= kid.sum.elements;
                } else {
                    walk_backwards(kid, skip, end, visit)?;
                    skip = 0;
                }
                end -= kid.sum.elements;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Frees nodes until the budget is used up. Whether the branch is done with.
fn shed(branch: &mut Branch, budget: &mut u64) -> bool {
    if Arc::get_mut(&mut branch.kids).is_none() {
        // Shared, until a moment ago at least: just one of those who let go of it at the same time gets it.
        let shared = std::mem::replace(&mut branch.kids, Arc::new(Kids::Nodes(Vec::new())));
        *budget = budget.saturating_sub(1);
        match Arc::into_inner(shared) {
            Some(kids) => branch.kids = Arc::new(kids),
            None => return true,
        }
    }
    match Arc::get_mut(&mut branch.kids) {
        None => unreachable!("it is nobody else's"),
        Some(Kids::Nodes(nodes)) => {
            while *budget > 0 {
                let Some(node) = nodes.pop() else { return true };
                *budget = budget.saturating_sub(node.tally().count.into());
            }
            nodes.is_empty()
        }
        Some(Kids::Branches(branches)) => {
            while let Some(last) = branches.last_mut() {
                if *budget == 0 {
                    return false;
                }
                if shed(last, budget) {
                    branches.pop();
                }
            }
            true
        }
    }
}
