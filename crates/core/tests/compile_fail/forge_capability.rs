//! A capability is minted by a set, and in no other way.
use lar_core::capability::Capability;

fn forge() -> Capability {
    Capability::default()
}

fn forge_by_hand() -> Capability {
    Capability { ordinal: 1 }
}

fn main() {}
