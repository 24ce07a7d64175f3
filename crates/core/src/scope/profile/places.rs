//! Which place of its program's list an operand takes: its kind follows from that.

use super::kind::{self, Kind};
use super::walk::{Event, Walk};
use super::{Operand, Repeats};

/// An operand and the place that it takes; none where there is one too many.
pub(super) struct Placed<'p, 'a> {
    pub place: Option<&'p Operand>,
    pub text: &'a str,
    pub word: usize,
    /// Distinguishes places: operands with the same number share one that repeats.
    pub number: usize,
}

/// What a walk's operands come to, in their order.
pub(super) struct Places<'p, 'a> {
    pub operands: Vec<Placed<'p, 'a>>,
    /// The place that the next operand would take.
    pub next: Option<&'p Operand>,
    /// Whether a place is left for operands after `--`.
    pub after_dashes: Option<&'p Operand>,
}

impl<'p, 'a> Places<'p, 'a> {
    /// Gives each operand its place.
    pub(super) fn of(walk: &Walk<'p, 'a>) -> Self {
        let node = walk.node;
        let by_flag = walk.events.iter().any(|event| match event {
            Event::Flag { flag, .. } => node.first_operand_by.contains(&flag.id),
            _ => false,
        });
        let (mut spec, mut at) = (&node.operands, usize::from(by_flag));
        let (mut base, mut is_after) = (0, false);
        let mut operands = Vec::new();
        for event in &walk.events {
            let Event::Operand { text, word, after_dashes } = *event else { continue };
            if after_dashes && !is_after {
                is_after = true;
                if let Some(other) = &node.after_dashes {
                    (spec, at, base) = (other, 0, spec.len() + 1);
                }
            }
            while let Some(operand) = spec.get(at)
                && matches!(operand.kind, Kind::Assignment)
                && !kind::is_assignment(text)
            {
                at += 1;
            }
            // After `TYPE/NAME` no name follows, but what is to be changed.
            if let Some(Operand { kind: Kind::Rule(rule), .. }) = spec.get(at)
                && rule.if_named
                && rule.excepts(text)
                && spec.len() > at + 1
            {
                at += 1;
            }
            let place = spec.get(at);
            operands.push(Placed { place, text, word, number: base + at });
            if place.is_some_and(|operand| operand.repeats == Repeats::Once) {
                at += 1;
            }
        }
        let next = spec.iter().skip(at).find(|operand| !matches!(operand.kind, Kind::Assignment));
        let after_dashes = node.after_dashes.iter().flatten().next().filter(|_| !is_after);
        Self { operands, next, after_dashes }
    }

    /// The word at which another command begins, if one is there.
    pub(super) fn command(&self) -> Option<usize> {
        let runs = |placed: &&Placed<'_, '_>| {
            let kind = placed.place.map(|operand| &operand.kind);
            matches!(kind, Some(Kind::Command | Kind::NamedCommand | Kind::Remote))
        };
        self.operands.iter().find(runs).map(|placed| placed.word)
    }
}

/// The word at which a module's name stands, the rest being its arguments: `python -m MODULE …`.
pub(super) fn module(walk: &Walk<'_, '_>) -> Option<usize> {
    walk.events.iter().find_map(|event| match event {
        Event::Flag { flag, value: Some(value), .. } if matches!(flag.kind, Kind::Module) => {
            Some(value.word)
        }
        _ => None,
    })
}
