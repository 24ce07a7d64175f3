//! The Merkle tree over all records of a ledger (RFC 6962, section 2.1, with SHA-256): what a root
//! says, and the proofs that a record stands in it and that nothing before was rewritten.
//!
//! Nothing here stores anything. A proof is first planned as the ranges of leaves whose roots it
//! consists of; whoever holds the hashes of complete subtrees can then fetch exactly those.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::json::Digest;

/// The deepest tree: no ledger holds more records than the canonical form has numbers.
const MOST_LEVELS: u8 = 53;

/// SHA-256 of a zero byte and the record's bytes: what a record is called by.
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(bytes);
    Digest::from_bytes(hasher.finalize().into())
}

/// SHA-256 of a one byte and the two hashes below.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    let (_, both) = bytes.split_at_mut(1);
    let (first, second) = both.split_at_mut(32);
    first.copy_from_slice(left.as_bytes());
    second.copy_from_slice(right.as_bytes());
    Digest::of(bytes)
}

/// A complete subtree: the leaves from `index << level` on, `1 << level` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subtree {
    /// Its height; a leaf has 0.
    pub level: u8,
    /// Which one of that height, from the left, from 0.
    pub index: u64,
}

/// The proof, or what it is to prove, doesn't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The numbers can't be those of one tree.
    #[error("there is no such leaf or size in the tree")]
    OutOfTree,
    /// It has more or fewer hashes than such a proof has.
    #[error("the proof has the wrong length")]
    Length,
    /// It leads to another root.
    #[error("the proof leads to another root")]
    OtherRoot,
    /// A subtree doesn't begin where the tree ends, or would not be complete there.
    #[error("a subtree doesn't fit where it stands")]
    Misplaced,
}

/// A tree's right edge: all that is needed to add leaves and to know the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees of which the tree consists, largest first.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// A tree of `size` leaves whose complete subtrees, as [`subtrees`] lists those of `0..size`,
    /// have these roots.
    pub fn resume(size: u64, peaks: Vec<Digest>) -> Result<Self, ProofError> {
        if size >> MOST_LEVELS != 0 || peaks.len() != size.count_ones() as usize {
            return Err(ProofError::Length);
        }
        Ok(Self { size, peaks })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Digest) -> Result<(), ProofError> {
        self.push_subtree(0, leaf)
    }

    /// Adds `1 << level` leaves at once by the root over them.
    pub fn push_subtree(&mut self, level: u8, root: Digest) -> Result<(), ProofError> {
        self.push_and_tell(level, root, |_, _| {})
    }

    /// Adds leaves by the root over them, and tells which subtrees this completed above it, lowest
    /// first.
    pub fn push_and_tell(
        &mut self,
        level: u8,
        root: Digest,
        mut completed: impl FnMut(Subtree, Digest),
    ) -> Result<(), ProofError> {
        if level >= MOST_LEVELS || !self.size.is_multiple_of(1 << level) {
            return Err(ProofError::Misplaced);
        }
        let size = self.size + (1 << level);
        if size >> MOST_LEVELS != 0 {
            return Err(ProofError::OutOfTree);
        }
        let (mut level, mut root) = (level, root);
        while (self.size >> level) & 1 == 1 {
            let left = self.peaks.pop().ok_or(ProofError::Length)?;
            root = node_hash(&left, &root);
            level += 1;
            completed(Subtree { level, index: (size - 1) >> level }, root);
        }
        self.peaks.push(root);
        self.size = size;
        Ok(())
    }

    /// The root. That of no leaves is SHA-256 of the empty text.
    pub fn root(&self) -> Digest {
        fold(&self.peaks).unwrap_or_else(|| Digest::of(b""))
    }
}

/// The root over subtrees that stand side by side, each smaller than the one before it.
pub fn fold(roots: &[Digest]) -> Option<Digest> {
    let (last, rest) = roots.split_last()?;
    Some(rest.iter().rev().fold(*last, |right, left| node_hash(left, &right)))
}

/// The largest complete subtrees that make up a range of leaves, from left to right.
pub fn subtrees(leaves: Range<u64>) -> Vec<Subtree> {
    let (mut from, end) = (leaves.start, leaves.end);
    let mut found = Vec::new();
    while from < end {
        let fits = (end - from).ilog2();
        let aligned = if from == 0 { fits } else { from.trailing_zeros() };
        let level = fits.min(aligned) as u8;
        found.push(Subtree { level, index: from >> level });
        from += 1 << level;
    }
    found
}

/// The ranges of leaves whose roots, in this order, are the inclusion proof of a leaf (`PATH` of RFC
/// 6962, section 2.1.1).
pub fn inclusion_plan(leaf: u64, size: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if leaf >= size || size >> MOST_LEVELS != 0 {
        return Err(ProofError::OutOfTree);
    }
    let (mut plan, mut within) = (Vec::new(), 0..size);
    while within.end - within.start > 1 {
        let split = within.start + left_size(within.end - within.start);
        if leaf < split {
            plan.push(split..within.end);
            within.end = split;
        } else {
            plan.push(within.start..split);
            within.start = split;
        }
    }
    plan.reverse();
    Ok(plan)
}

/// The ranges of leaves whose roots, in this order, prove that a tree is an older one with leaves
/// added (`PROOF` of RFC 6962, section 2.1.2).
pub fn consistency_plan(old: u64, new: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if old > new || new >> MOST_LEVELS != 0 {
        return Err(ProofError::OutOfTree);
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut plan, mut within, mut whole) = (Vec::new(), 0..new, true);
    while within.end != old {
        let split = within.start + left_size(within.end - within.start);
        if old <= split {
            plan.push(split..within.end);
            within.end = split;
        } else {
            plan.push(within.start..split);
            within.start = split;
            whole = false;
        }
    }
    if !whole {
        plan.push(within);
    }
    plan.reverse();
    Ok(plan)
}

/// How many leaves stand left of the root of a tree of `size` > 1: the largest power of two below.
fn left_size(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Whether a leaf stands at `index` in the tree of `size` leaves with this root (RFC 9162, section
/// 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfTree);
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for step in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(step, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, step);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match (last == 0, hash == *root) {
        (false, _) => Err(ProofError::Length),
        (true, false) => Err(ProofError::OtherRoot),
        (true, true) => Ok(()),
    }
}

/// Whether the tree of `new` leaves is the one of `old` leaves with some added (RFC 9162, section
/// 2.1.4.2). Every tree is the empty one with leaves added.
pub fn verify_consistency(
    old: u64,
    old_root: &Digest,
    new: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::OutOfTree);
    }
    if old == 0 || old == new {
        let same = if old == new { old_root == new_root } else { *old_root == Digest::of(b"") };
        return match (proof.is_empty(), same) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::OtherRoot),
            (true, true) => Ok(()),
        };
    }
    let (first, steps) = match (old.is_power_of_two(), proof.split_first()) {
        (true, _) => (*old_root, proof),
        (false, Some((first, steps))) => (*first, steps),
        (false, None) => return Err(ProofError::Length),
    };
    let (mut at, mut last) = (old - 1, new - 1);
    let down = at.trailing_ones();
    (at, last) = (at >> down, last >> down);
    let (mut older, mut newer) = (first, first);
    for step in steps {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            older = node_hash(step, &older);
            newer = node_hash(step, &newer);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            newer = node_hash(&newer, step);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match (last == 0, older == *old_root && newer == *new_root) {
        (false, _) => Err(ProofError::Length),
        (true, false) => Err(ProofError::OtherRoot),
        (true, true) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The inputs of the reference test data that Certificate Transparency's implementations share.
    const INPUTS: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    /// The roots of the trees of the first 1 to 8 of them.
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    /// The definition of the RFC, word for word.
    fn naive(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [leaf] => *leaf,
            more => {
                let (left, right) = more.split_at(left_size(more.len() as u64) as usize);
                node_hash(&naive(left), &naive(right))
            }
        }
    }

    fn leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    fn frontier(leaves: &[Digest]) -> Frontier {
        let mut tree = Frontier::default();
        for leaf in leaves {
            tree.push(*leaf).unwrap();
        }
        tree
    }

    fn fetch(leaves: &[Digest], plan: Vec<Range<u64>>) -> Vec<Digest> {
        plan.into_iter().map(|r| naive(&leaves[r.start as usize..r.end as usize])).collect()
    }

    #[test]
    fn the_reference_vectors_hold() {
        assert_eq!(
            Frontier::default().root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let leaves: Vec<Digest> =
            INPUTS.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect();
        for (count, root) in (1..).zip(ROOTS) {
            assert_eq!(frontier(&leaves[..count]).root().to_string(), root, "{count}");
        }
        let path = fetch(&leaves, inclusion_plan(5, 8).unwrap());
        let shown: Vec<String> = path.iter().map(Digest::to_string).collect();
        assert_eq!(
            shown,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
    }

    #[test]
    fn subtrees_cover_a_range_once() {
        for from in 0..40 {
            for end in from..40 {
                let mut at = from;
                for subtree in subtrees(from..end) {
                    assert_eq!(subtree.index << subtree.level, at);
                    at += 1 << subtree.level;
                }
                assert_eq!(at, end);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(inclusion_plan(3, 3).is_err());
        assert!(consistency_plan(4, 3).is_err());
        assert!(Frontier::resume(3, Vec::new()).is_err());
        assert!(Frontier::resume(u64::MAX, vec![Digest::of(b""); 64]).is_err());
        let mut tree = frontier(&leaves(3));
        assert_eq!(tree.push_subtree(1, Digest::of(b"")), Err(ProofError::Misplaced));
        assert_eq!(tree.push_subtree(60, Digest::of(b"")), Err(ProofError::Misplaced));
        let nothing = Digest::of(b"");
        assert!(verify_inclusion(&nothing, 0, 0, &[], &nothing).is_err());
        assert!(verify_inclusion(&nothing, 0, u64::MAX, &[nothing; 64], &nothing).is_err());
        assert!(verify_consistency(1, &nothing, u64::MAX, &nothing, &[]).is_err());
    }

    proptest! {
        #[test]
        fn the_right_edge_agrees_with_the_definition(count in 0u64..300, cut in any::<prop::sample::Index>()) {
            let all = leaves(count);
            let tree = frontier(&all);
            prop_assert_eq!(tree.root(), naive(&all));
            let peaks = fetch(&all, subtrees(0..count).iter()
                .map(|s| s.index << s.level..(s.index + 1) << s.level).collect());
            prop_assert_eq!(&Frontier::resume(count, peaks).unwrap(), &tree);
            // A stretch of leaves may be given by the roots over it.
            let cut = cut.index(count as usize + 1) as u64;
            let mut skipping = frontier(&all[..cut as usize]);
            for subtree in subtrees(cut..count) {
                let range = subtree.index << subtree.level..(subtree.index + 1) << subtree.level;
                let root = naive(&all[range.start as usize..range.end as usize]);
                skipping.push_subtree(subtree.level, root).unwrap();
            }
            prop_assert_eq!(skipping, tree);
        }

        #[test]
        fn inclusion_is_proved_for_the_leaf_alone(count in 1u64..200, at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
            let all = leaves(count);
            let at = at.index(count as usize) as u64;
            let root = naive(&all);
            let leaf = all[at as usize];
            let mut proof = fetch(&all, inclusion_plan(at, count).unwrap());
            prop_assert_eq!(verify_inclusion(&leaf, at, count, &proof, &root), Ok(()));
            prop_assert!(verify_inclusion(&Digest::of(b"x"), at, count, &proof, &root).is_err());
            if count > 1 {
                prop_assert!(verify_inclusion(&leaf, (at + 1) % count, count, &proof, &root).is_err());
                let flip = flip.index(proof.len());
                let kept = std::mem::replace(&mut proof[flip], Digest::of(b"x"));
                prop_assert!(verify_inclusion(&leaf, at, count, &proof, &root).is_err());
                proof[flip] = kept;
                proof.pop();
                prop_assert!(verify_inclusion(&leaf, at, count, &proof, &root).is_err());
            }
        }

        #[test]
        fn consistency_is_proved_for_a_prefix_alone(new in 1u64..200, old in any::<prop::sample::Index>()) {
            let all = leaves(new);
            let old = old.index(new as usize + 1) as u64;
            let (old_root, new_root) = (naive(&all[..old as usize]), naive(&all));
            let proof = fetch(&all, consistency_plan(old, new).unwrap());
            prop_assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()));
            let other = Digest::of(b"x");
            prop_assert!(verify_consistency(old, &other, new, &new_root, &proof).is_err());
            if old > 0 {
                prop_assert!(verify_consistency(old, &old_root, new, &other, &proof).is_err());
            }
            let longer = [proof.clone(), vec![other]].concat();
            prop_assert!(verify_consistency(old, &old_root, new, &new_root, &longer).is_err());
        }

        #[test]
        fn proofs_of_any_kind_never_panic(numbers in any::<[u64; 3]>(), hashes in 0usize..70) {
            let proof = vec![Digest::of(b"x"); hashes];
            let hash = Digest::of(b"y");
            let _ = verify_inclusion(&hash, numbers[0], numbers[1], &proof, &hash);
            let _ = verify_consistency(numbers[0], &hash, numbers[1], &hash, &proof);
            let _ = inclusion_plan(numbers[0], numbers[1]);
            let _ = consistency_plan(numbers[0], numbers[1]);
            let mut tree = Frontier::default();
            let _ = tree.push_subtree(numbers[2] as u8, hash);
        }
    }
}
